"""InternVL: an image is a run of tiles, and a frame of video is one tile."""

from functools import partial

from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor, Qwen2Config
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer, without_torchvision
from tiny._video import StackedClips


def build() -> Tiny:
    tok = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [4, 4]},
        text_config=Qwen2Config(**TEXT, vocab_size=len(tok)),
        image_token_id=tok.context_image_token_id,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    images = GotOcr2ImageProcessorPil(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=3
    )
    clips = StackedClips(partial(images, crop_to_patches=False))
    return Tiny(
        "internvl",
        InternVLForConditionalGeneration(config),
        without_torchvision(InternVLProcessor)(images, tok, clips, image_seq_length=16),
        image_token="<IMG_CONTEXT>",
        video_token="<video>",
        sizes=((64, 32), (32, 32)),  # three tiles and one, of 16 tokens each
        clips=(3, 3),
    )
