"""Qwen3.5 with full attention in every layer, so that a token removed can be compared with a token masked."""

from tiny._qwen3_5 import qwen3_5
from tiny._tiny import Tiny


def build() -> Tiny:
    return qwen3_5("qwen3_5", ["full_attention"] * 3)
