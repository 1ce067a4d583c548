"""Ways to choose visual tokens: one file per method, and the folder is the registry."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from torch import Tensor

from grip_vlm.mdp import Action

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Protocol):
    """What every file in this folder defines, as a class named `Pruner` that takes the keywords of `load`."""

    checkpoint: str
    """the scorer's folder or name and a digest of its weights; empty for methods without training"""

    def select(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> Action:
        """Keep k (B,) tokens of each sample. `full` and `blind` ignore k, `downsample` keeps at most k."""
        ...


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
