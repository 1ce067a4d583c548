"""Qwen3-VL: the features for the first layers of the language model (deepstack) are pruned with the tokens."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """As `MRopeVLM`."""
