"""Qwen3.5 with linear attention: a token removed leaves the recurrent state, a token masked still decays it."""

from tiny._qwen3_5 import qwen3_5
from tiny._tiny import Tiny


def build() -> Tiny:
    return qwen3_5("qwen3_5_hybrid", ["linear_attention", "full_attention", "linear_attention"])
