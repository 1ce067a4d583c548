"""Qwen3-VL with a mixture of experts."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """As `MRopeVLM`."""
