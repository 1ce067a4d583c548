"""Tiny random models of the true transformers classes: one file per family, and the folder is the registry."""

from importlib import import_module
from pkgutil import iter_modules

import torch

from tiny._tiny import Tiny, settle

__all__ = ["Tiny", "load", "names"]


def names() -> list[str]:
    """The model types, and variants of them."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Tiny:
    """A family by name, always with the same weights; the caller's random state is left alone."""
    if name not in names():
        raise ValueError(f"unknown family {name!r}; choose from {', '.join(names())}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tiny: Tiny = import_module(f"{__name__}.{name}").build()
        settle(tiny)
    return tiny
