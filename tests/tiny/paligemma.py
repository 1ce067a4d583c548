"""PaliGemma: SigLIP and Gemma."""

from transformers import GemmaConfig

from tiny._paligemma import paligemma
from tiny._tiny import Tiny


def build() -> Tiny:
    return paligemma("paligemma", GemmaConfig)
