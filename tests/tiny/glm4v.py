"""GLM-4.1V: frames of video have the image token, and only what is around them tells.

So the model refuses an image and a clip in one call (5.23: it counts the placeholders of both as the image's).
"""

from transformers import Glm4vConfig, Glm4vForConditionalGeneration, Glm4vProcessor
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from tiny import _qwen as qwen
from tiny._tiny import Tiny, tokenizer, without_torchvision
from tiny._video import PatchedClips

SPECIALS = {
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
}


def build() -> Tiny:
    tok = tokenizer(list(SPECIALS.values()))
    config = Glm4vConfig(
        text_config=qwen.text(tok, partial_rotary_factor=1.0),
        vision_config={**qwen.VISION, "image_size": 32},
        **{key: tok.convert_tokens_to_ids(token) for key, token in SPECIALS.items()},
    )
    images = Glm4vImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, patch_size=4, temporal_patch_size=2, merge_size=2
    )
    return Tiny(
        "glm4v",
        Glm4vForConditionalGeneration(config),
        without_torchvision(Glm4vProcessor)(images, tok, PatchedClips(images)),
        image_token="<|begin_of_image|><|image|><|end_of_image|>",
        video_token="<|begin_of_video|><|video|><|end_of_video|>",
        sizes=((48, 32), (24, 40)),  # 24 and 15 tokens
        clips=(4, 5),
    )
