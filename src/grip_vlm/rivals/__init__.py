"""Trained rivals of the method: one file each, with its settings `Config` and its `train`, named as its pruner.

`bernoulli.py` and `plackett_luce.py` are distributions that rivals sample from.
"""

from types import ModuleType

from grip_vlm import registry

DISTRIBUTIONS = {"bernoulli", "plackett_luce"}


def names() -> list[str]:
    """Names of the trained rivals."""
    return sorted(set(registry.names("rivals")) - DISTRIBUTIONS)


def load(name: str) -> ModuleType:
    """The module of a rival: `Config(RunConfig)` and `train(vlm, scorer, bank, dev_score, config) -> Scorer`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in names():
        raise ValueError(f"unknown rival {name!r}; choose from {', '.join(names())}")
    return registry.load("rivals", name, "rival")
