"""Methods of choosing visual tokens. `methods/` has one file per method; the other files are a toolkit for them."""

from pathlib import Path
from typing import cast

from grip_vlm import registry
from grip_vlm.pruners.base import BasePruner as Pruner

__all__ = ["Pruner", "load", "names", "parse"]


def names() -> list[str]:
    """Names of all methods."""
    return registry.names("pruners.methods")


def load(name: str, *, scorer: str | Path | None = None, seed: int = 0) -> Pruner:
    """A pruner by name.

    Args:
        scorer: the folder of a scorer or the name of a shipped one; for trained methods only.
        seed: for methods that sample at random.

    Raises:
        ValueError: the name is unknown, a trained method has no scorer, or an untrained one is given a scorer.
    """
    return cast(Pruner, registry.load("pruners.methods", name, "pruner").Pruner(scorer=scorer, seed=seed))


def parse(text: str, vlm: str, seed: int) -> tuple[str, Pruner]:
    """(name, pruner) of a text `name` or `name=DIR`, where DIR is the folder of a scorer.

    `grip` without a folder takes the scorer that is shipped with the VLM called `vlm`.

    Raises:
        ValueError: see `load`; or no scorer is shipped for this VLM.
    """
    name, _, scorer = text.partition("=")
    if not scorer and name == "grip":
        if vlm not in registry.shipped_vlms():
            shipped = ", ".join(registry.shipped_vlms())
            raise ValueError(
                f"no scorer is shipped for {vlm!r} (only for {shipped}); give the folder of one you trained"
            )
        scorer = vlm
    return name, load(name, scorer=scorer or None, seed=seed)
