"""Qwen3.5: some layers are recurrent, so removing a token is not the same as masking it."""

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    """As `MRopeVLM`."""
