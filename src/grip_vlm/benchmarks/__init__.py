"""What a VLM is asked and how an answer is scored: one file per benchmark, and the folder is the registry.

A benchmark file defines `LAYOUTS` (the scene layouts it draws from), `ask(scene, rng)` and `score(prediction,
answers)`.
`score` is used by evaluation and by the reward alike, so that training and reported numbers cannot drift apart.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

import numpy as np
from PIL import Image

from grip_vlm.scenes import Scene, compose


@dataclass(frozen=True)
class Question:
    """A question about a scene and its short answer."""

    text: str
    answer: str


@dataclass(frozen=True)
class Example:
    """One item of a benchmark or one row of a user's data: an image, a question and the accepted answers."""

    item: str
    image: Image.Image
    question: str
    answers: tuple[str, ...]
    benchmark: str


class Benchmark(Protocol):
    """What every file in this folder defines."""

    LAYOUTS: tuple[str, ...]

    def ask(self, scene: Scene, rng: np.random.Generator) -> Question | None:
        """A question about the scene, or None when this scene does not allow one."""
        ...

    def score(self, prediction: str, answers: Sequence[str]) -> float:
        """1.0 for a right answer, 0.0 for a wrong one."""
        ...


def names() -> list[str]:
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Benchmark:
    """Raises ValueError for an unknown name."""
    if name not in names():
        raise ValueError(f"unknown benchmark {name!r}; choose from {', '.join(names())}, or `scenes` for all of them")
    return cast(Benchmark, import_module(f"{__name__}.{name}"))


def example(name: str, split: str, index: int, seed: int = 0) -> Example:
    """Item `index` of a benchmark's split: its own scene, with one question; the same arguments give the same item."""
    benchmark = load(name)
    start = zlib.crc32(name.encode())
    rng = np.random.default_rng([seed, start, index])
    for attempt in range(1000):
        layout = benchmark.LAYOUTS[rng.integers(len(benchmark.LAYOUTS))]
        scene = compose(split, start + 1000 * index + attempt, layout, seed)
        question = benchmark.ask(scene, rng)
        if question is not None:
            return Example(f"{name}/{split}/{index}", scene.image, question.text, (question.answer,), name)
    raise RuntimeError(f"benchmark {name!r} found no question in 1000 scenes")
