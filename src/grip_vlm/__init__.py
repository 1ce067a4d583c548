"""grip_vlm: make a frozen vision-language model cheaper by keeping only the visual tokens that the question needs."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Budget", "load_pruner", "load_vlm"]

if TYPE_CHECKING:
    from grip_vlm.budget import Budget
    from grip_vlm.pruners import load as load_pruner
    from grip_vlm.vlms import load as load_vlm

_WHERE = {"Budget": ("budget", "Budget"), "load_pruner": ("pruners", "load"), "load_vlm": ("vlms", "load")}


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that importing the package does not import torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'grip_vlm' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _WHERE[name]
    return getattr(import_module(f"grip_vlm.{module}"), attribute)
