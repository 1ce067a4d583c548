"""Qwen2-VL: any resolution, positions in time, height and width."""

from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from tiny import _qwen as qwen
from tiny._tiny import Tiny


def build() -> Tiny:
    tok = qwen.qwen_tokenizer()
    config = Qwen2VLConfig(
        text_config=qwen.text(tok),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, **qwen.PATCH},
        **qwen.token_ids(tok),
    )
    return qwen.tiny("qwen2_vl", Qwen2VLForConditionalGeneration(config), Qwen2VLProcessor, tok)
