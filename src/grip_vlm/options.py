"""Options that several commands share."""

from dataclasses import dataclass
from typing import Literal

DType = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True, kw_only=True)
class VLMOptions:
    """Which VLM, and how it is loaded."""

    vlm: str = "tiny-llava"
    """A shipped VLM, a checkpoint folder or a hub id."""
    dtype: DType = "float32"
    """Precision of the VLM's weights; `auto` takes the checkpoint's own."""
