"""Qwen3-VL with mixture of experts."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """Nothing differs from the others of its kind."""
