"""SmolVLM: the same layout as Idefics3."""

from grip_vlm.vlms.families.idefics3 import VLM

__all__ = ["VLM"]
