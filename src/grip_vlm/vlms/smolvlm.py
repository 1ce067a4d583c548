"""SmolVLM: laid out as Idefics3."""

from grip_vlm.vlms.idefics3 import VLM

__all__ = ["VLM"]
