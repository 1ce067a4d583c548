"""Aya Vision: every tile stands behind its name, which is two tokens here, and the whole image behind one."""

from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    AyaVisionProcessor,
    Cohere2Config,
    SiglipVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer

MARKS = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE", "_1", "_2", "TILE_GLOBAL"]


def build() -> Tiny:
    tok = tokenizer(MARKS)
    config = AyaVisionConfig(
        vision_config=SiglipVisionConfig(**VISION, image_size=32, patch_size=4, vision_use_head=False),
        text_config=Cohere2Config(**TEXT, vocab_size=len(tok), sliding_window=256, sliding_window_pattern=3),
        image_token_index=tok.convert_tokens_to_ids("<|IMG_PATCH|>"),
        downsample_factor=2,
    )
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=3)
    processor = AyaVisionProcessor(images, tok, patch_size=4, img_size=32, downsample_factor=2)
    model = AyaVisionForConditionalGeneration(config)
    return Tiny("aya_vision", model, processor, "<image>", sizes=((64, 32), (32, 32)))  # 3 tiles of 16 tokens, and 1
