"""What the variants of Qwen3.5 share: all but the kinds of their decoder layers."""

from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3VLProcessor

from tiny import _qwen as qwen
from tiny._tiny import Tiny

LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}


def qwen3_5(name: str, layer_types: list[str]) -> Tiny:
    tok = qwen.qwen_tokenizer()
    text = qwen.text(tok, mrope_interleaved=True, mrope_section=[2, 1, 1], partial_rotary_factor=0.5)
    config = Qwen3_5Config(
        text_config={**text, **LINEAR, "head_dim": 16, "layer_types": layer_types},
        vision_config={**qwen.VISION, "num_position_embeddings": 64},
        **qwen.token_ids(tok),
    )
    return qwen.tiny(name, Qwen3_5ForConditionalGeneration(config), Qwen3VLProcessor, tok)
