"""Qwen2.5-VL: window attention in the vision tower, and time in seconds in the positions of video."""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from tiny import _qwen as qwen
from tiny._tiny import Tiny


def build() -> Tiny:
    tok = qwen.qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config=qwen.text(tok),
        vision_config={**qwen.VISION, "window_size": 16, "fullatt_block_indexes": [1]},
        **qwen.token_ids(tok),
    )
    return qwen.tiny("qwen2_5_vl", Qwen2_5_VLForConditionalGeneration(config), Qwen2_5_VLProcessor, tok)
