"""grip_vlm makes a frozen vision-language model cheaper: it keeps only the visual tokens that the question needs."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Budget", "load_pruner", "load_vlm"]

if TYPE_CHECKING:
    from grip_vlm.budget import Budget
    from grip_vlm.pruners import load as load_pruner
    from grip_vlm.vlms import load as load_vlm

_PUBLIC = {"Budget": ("budget", "Budget"), "load_pruner": ("pruners", "load"), "load_vlm": ("vlms", "load")}


def __getattr__(name: str) -> Any:
    """Import a public name on first use. Importing the package itself therefore does not import torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'grip_vlm' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PUBLIC[name]
    return getattr(import_module(f"grip_vlm.{module}"), attribute)
