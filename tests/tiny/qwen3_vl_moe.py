"""Qwen3-VL with a mixture of experts."""

from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration, Qwen3VLProcessor

from tiny import _qwen as qwen
from tiny._tiny import Tiny

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def build() -> Tiny:
    tok = qwen.qwen_tokenizer()
    config = Qwen3VLMoeConfig(
        text_config={**qwen.text(tok, mrope_interleaved=True), "head_dim": 16, **EXPERTS},
        vision_config=qwen.QWEN3_VISION,
        **qwen.token_ids(tok),
    )
    return qwen.tiny("qwen3_vl_moe", Qwen3VLMoeForConditionalGeneration(config), Qwen3VLProcessor, tok)
