"""PaliGemma 2: SigLIP and Gemma 2, whose every other layer slides a window (wider than any prompt)."""

from transformers import Gemma2Config

from tiny._paligemma import paligemma
from tiny._tiny import Tiny


def build() -> Tiny:
    return paligemma("paligemma2", Gemma2Config, sliding_window=256)
