"""Qwen3-VL: deepstack features in the first decoder layers, and time stamps between the frames of video."""

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tiny import _qwen as qwen
from tiny._tiny import Tiny


def build() -> Tiny:
    tok = qwen.qwen_tokenizer()
    config = Qwen3VLConfig(
        text_config={**qwen.text(tok, mrope_interleaved=True), "head_dim": 16},
        vision_config=qwen.QWEN3_VISION,
        **qwen.token_ids(tok),
    )
    return qwen.tiny("qwen3_vl", Qwen3VLForConditionalGeneration(config), Qwen3VLProcessor, tok)
