"""LLaVA-NeXT: a base image and tiles of it, with a newline token after every row."""

from transformers import (
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer

PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def build() -> Tiny:
    tok = tokenizer(image_token="<image>")
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=32, patch_size=8),
        text_config=MistralConfig(**TEXT, vocab_size=len(tok), sliding_window=None),
        image_token_index=tok.image_token_id,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS
    )
    processor = LlavaNextProcessor(
        images, tok, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    model = LlavaNextForConditionalGeneration(config)
    return Tiny("llava_next", model, processor, "<image>", sizes=((48, 32), (32, 60)))
