"""What both PaliGemmas share: a prefix of image and question that sees itself both ways, and no chat template."""

from typing import Any

from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedConfig,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer


def paligemma(name: str, text_class: type[PreTrainedConfig], **text: Any) -> Tiny:
    tok = tokenizer(image_token="<image>")
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tok)  # adds a thousand tokens for places and segments
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            **VISION, image_size=32, patch_size=8, vision_use_head=False, projection_dim=64
        ),
        text_config=text_class(**TEXT, **text, vocab_size=len(tok), head_dim=16),
        image_token_index=tok.image_token_id,
        projection_dim=64,
        hidden_size=64,
    )
    model = PaliGemmaForConditionalGeneration(config)
    return Tiny(name, model, processor, "<image>", sizes=((48, 32), (24, 40)), chat=False)  # 16 tokens both
