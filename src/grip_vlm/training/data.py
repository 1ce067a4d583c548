"""The examples of a run with their digests, by which changed data are noticed and encoded images found again."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.benchmarks.digests import digest_of, digest_of_all
from grip_vlm.training.settings import RunConfig


@dataclass(frozen=True)
class Part:
    """Examples, and a digest of each: of its image's pixels, question, benchmark and, if labels are read, answers."""

    examples: Sequence[Example]
    label_free: bool = False
    digests: list[str] = field(init=False)

    def __post_init__(self) -> None:
        def one(index: int) -> str:  # images are opened one at a time per thread, and not held
            return digest_of(self.examples[index], self.label_free)

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            object.__setattr__(self, "digests", list(pool.map(one, range(len(self.examples)))))


@dataclass(frozen=True)
class Data:
    """What a run trains on, and what decides which weights are kept."""

    train: Part
    dev: Part

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell these data from others."""
        return digest_of_all([*self.train.digests, "dev", *self.dev.digests])


def load_data(config: RunConfig) -> Data:
    """The examples that `config` names. Every image is read once.

    Raises:
        ValueError: see `load_examples`.
    """
    free = config.label_free
    counts = {"train": config.examples, "dev": config.dev_examples}
    train, dev = (load_examples(config.data, split, count, labelled=not free) for split, count in counts.items())
    return Data(Part(train, free), Part(dev, free))
