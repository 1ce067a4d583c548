"""LLaVA-OneVision: tiles for a lone image, one square for each of several, pooled squares for frames of video."""

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer, without_torchvision
from tiny._video import StackedClips

PINPOINTS = [[32, 64], [64, 32], [64, 64]]
SQUARE = {"height": 32, "width": 32}


def build() -> Tiny:
    tok = tokenizer(image_token="<image>", video_token="<video>")
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False),
        text_config=Qwen2Config(**TEXT, vocab_size=len(tok)),
        image_token_index=tok.image_token_id,
        video_token_index=tok.video_token_id,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
    )
    processor = without_torchvision(LlavaOnevisionProcessor)(
        LlavaOnevisionImageProcessorPil(size=SQUARE, image_grid_pinpoints=PINPOINTS),
        tok,
        StackedClips(SiglipImageProcessorPil(size=SQUARE)),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    )
    return Tiny(
        "llava_onevision",
        LlavaOnevisionForConditionalGeneration(config),
        processor,
        image_token="<image>",
        video_token="<video>",
        sizes=((48, 32), (32, 60)),
        clips=(3, 3),
    )
