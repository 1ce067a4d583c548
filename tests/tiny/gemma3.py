"""Gemma 3: image tokens see each other both ways, and two of three layers slide a window (wider than any prompt)."""

from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor, SiglipVisionConfig
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer


def build() -> Tiny:
    tok = tokenizer(image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**VISION, image_size=32, patch_size=4, vision_use_head=False),
        text_config={
            **TEXT,
            "vocab_size": len(tok),
            "head_dim": 16,
            "sliding_window": 256,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        mm_tokens_per_image=16,
        boi_token_index=tok.boi_token_id,
        eoi_token_index=tok.eoi_token_id,
        image_token_index=tok.image_token_id,
    )
    processor = Gemma3Processor(Gemma3ImageProcessorPil(size={"height": 32, "width": 32}), tok, image_seq_length=16)
    model = Gemma3ForConditionalGeneration(config)
    return Tiny("gemma3", model, processor, "<start_of_image>", sizes=((48, 32), (24, 40)))  # 16 tokens both
