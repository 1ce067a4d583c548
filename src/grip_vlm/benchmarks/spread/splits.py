"""The three splits, and how a list of instances is cut into them."""

from typing import TypeVar

import numpy as np

SPLITS = ("train", "dev", "test")
SHARES = (0.70, 0.12, 0.18)  # of the instances of every kind, in the order of SPLITS
Instance = TypeVar("Instance")


def check_split(split: str) -> int:
    """The place of a split in SPLITS.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    return SPLITS.index(split)


def members(instances: list[Instance], split: str, key: int) -> list[Instance]:
    """Those instances that belong to `split` and to no other, drawn once for ever from `key`."""
    at = check_split(split)
    order = np.random.default_rng(key).permutation(len(instances))
    ends = np.round(np.cumsum((0.0, *SHARES)) * len(instances)).astype(int)
    return [instances[i] for i in sorted(order[ends[at] : ends[at + 1]])]
