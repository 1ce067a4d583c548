"""Qwen2-VL: an instance of `MRopeVLM` without differences."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """As `MRopeVLM`."""
