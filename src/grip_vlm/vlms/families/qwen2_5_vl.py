"""Qwen2.5-VL."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """Nothing differs from the others of its kind."""
