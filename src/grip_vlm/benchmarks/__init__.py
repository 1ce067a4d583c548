"""What a VLM is asked and how an answer is scored: one file per benchmark, and the folder is the registry.

A benchmark composed from scenes defines `LAYOUTS` (the scene layouts it draws from), `ask(scene, rng)` and
`score(prediction, answers)`; a published one a class `Benchmark` that names its table, with `ask(row)` and `score`.
`score` is used by evaluation and by the reward alike, so that training and reported numbers cannot drift apart.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from PIL import Image

from grip_vlm import registry
from grip_vlm.benchmarks.exact import EXACT, exact_match
from grip_vlm.benchmarks.published import Answered, Published
from grip_vlm.benchmarks.scenes import Item, Scene, compose

__all__ = ["Answered", "Composed", "Example", "Published", "Question"]
__all__ += ["CROWDED", "asked", "composed", "described", "example", "load", "names", "score"]


CROWDED = "crowded"  # variant of a composed benchmark: more things and smaller shapes in a scene than in training


@dataclass(frozen=True)
class Question:
    """A question about a scene and its short answer."""

    text: str
    answer: str
    about: tuple[Item, ...] = ()
    """the evidence: what of the scene has to be looked at; nothing where the thing asked about is not there"""


@dataclass(frozen=True)
class Example:
    """One item of a benchmark or one row of a user's data: an image, a question and the accepted answers."""

    item: str
    image: Image.Image
    question: str
    answers: tuple[str, ...]
    benchmark: str
    group: str = ""
    """what the benchmark's score or summary tells items apart by, such as a category"""
    image_id: str = ""
    """the same for items of one image; empty where every item has an image of its own"""


class Composed(Protocol):
    """What a file of a benchmark composed from scenes defines."""

    LAYOUTS: tuple[str, ...]

    def ask(self, scene: Scene, rng: np.random.Generator) -> Question | None:
        """A question about the scene, or None when this scene does not allow one."""
        ...

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """1.0 for a right answer, 0.0 for a wrong one."""
        ...


def names() -> list[str]:
    """Names of all benchmarks, without variants."""
    return registry.names("benchmarks.tasks")


def composed() -> list[str]:
    """The six that are composed from scenes, together called `scenes`."""
    return [name for name in names() if not isinstance(load(name), Published)]


def described() -> list[str]:
    """One line per benchmark or variant: its name and its kind."""
    lines = []
    for name in names():
        benchmark = load(name)
        if isinstance(benchmark, Published):
            lines += [f"{name}{variant and ':'}{variant} (published)" for variant in ("", *benchmark.variants)]
        else:
            lines += [f"{name} (composed)", f"{name}:{CROWDED} (composed)"]
    return lines


def load(name: str) -> Composed | Published:
    """A benchmark or a variant of it, as in `textvqa:ocr` or `reading:crowded`.

    Raises:
        ValueError: an unknown name or variant.
    """
    stem, colon, variant = name.partition(":")
    if stem not in names() or (colon and not variant):
        raise ValueError(
            f"unknown benchmark {name!r}; choose from {', '.join(names())}, `scenes` for {', '.join(composed())}, or "
            "a .jsonl file of yours"
        )
    module = registry.load("benchmarks.tasks", stem, "benchmark")
    if hasattr(module, "Benchmark"):
        return cast(Published, module.Benchmark(variant))
    if colon and variant != CROWDED:
        raise ValueError(f"benchmark {stem!r} has no variant {variant!r}, only {CROWDED}")
    return cast(Composed, module)


def asked(name: str, split: str, index: int, seed: int = 0) -> tuple[Scene, Question]:
    """Item `index` of a composed benchmark's split, with all that is known of it: its own scene and one question about
    it; the same arguments give the same item.

    Raises:
        ValueError: an unknown benchmark or split, or a published benchmark.
    """
    benchmark = load(name)
    if isinstance(benchmark, Published):
        raise ValueError(f"benchmark {name!r} is not composed; choose from {', '.join(composed())}")
    start = zlib.crc32(name.encode())
    rng = np.random.default_rng([seed, start, index])
    for attempt in range(1000):
        layout = benchmark.LAYOUTS[rng.integers(len(benchmark.LAYOUTS))]
        scene = compose(split, start + 1000 * index + attempt, layout, seed, crowded=name.endswith(f":{CROWDED}"))
        question = benchmark.ask(scene, rng)
        if question is not None:
            return scene, question
    raise RuntimeError(f"benchmark {name!r} found no question in 1000 scenes")


def example(name: str, split: str, index: int, seed: int = 0) -> Example:
    """Item `index` of a composed benchmark's split, as it is put to a VLM; raises what `asked` does."""
    scene, question = asked(name, split, index, seed)
    return Example(f"{name}/{split}/{index}", scene.image, question.text, (question.answer,), name)


def score(example: Example, prediction: str, answers: Sequence[str]) -> float:
    """The benchmark's own score of a prediction, given the accepted answers; a user's data is scored by exact match.

    Raises:
        ValueError: the example is of an unknown benchmark.
    """
    if example.benchmark == EXACT:
        return exact_match(prediction, answers)
    return load(example.benchmark).score(prediction, answers, example.group)
