"""Ways to choose visual tokens: one file per method, and the folder is the registry."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

from grip_vlm.pruners._pruner import BasePruner as Pruner

__all__ = ["Pruner", "load", "names"]


def names() -> list[str]:
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str, *, scorer: str | Path | None = None, seed: int = 0) -> Pruner:
    """A pruner by name.

    Args:
        scorer: for trained methods, the folder of a scorer or the name of a shipped one.
        seed: for methods that draw at random.

    Raises:
        ValueError: an unknown name, a scorer that is missing, or one given to a method without.
    """
    if name not in names():
        raise ValueError(f"unknown pruner {name!r}; choose from {', '.join(names())}")
    return cast(Pruner, import_module(f"{__name__}.{name}").Pruner(scorer=scorer, seed=seed))
