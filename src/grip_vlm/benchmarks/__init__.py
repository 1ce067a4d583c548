"""Benchmarks: questions about images, and the score of an answer. Each file in `tasks/` is one benchmark.

A composed benchmark asks about a scene that we compose. A published benchmark asks what its rows ask. Evaluation and
the reward call the same `score`, so that training and reported numbers cannot drift apart.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from PIL import Image

from grip_vlm import registry
from grip_vlm.benchmarks import spread
from grip_vlm.benchmarks.evidence import Evidence
from grip_vlm.benchmarks.exact import EXACT, exact_match
from grip_vlm.benchmarks.published import Published, ScoredAnswer
from grip_vlm.benchmarks.scenes import Item, Scene, compose

__all__ = ["CROWDED", "SCENES", "SPREAD", "Composed", "Evidence", "Example", "Published", "Question", "ScoredAnswer"]
__all__ += ["Spread", "composed", "composed_item", "descriptions", "example", "expand", "load", "names", "score"]

SCENES = "scenes"  # the six composed benchmarks together
CROWDED = "crowded"  # variant of a composed benchmark: scenes with more items and smaller shapes than in training
SPREAD = "spread"  # variant of a composed benchmark: the same task in the larger world; also all six of them together


@dataclass(frozen=True)
class Question:
    """A question about a scene and its short answer."""

    text: str
    answer: str
    evidence: tuple[Item, ...] = ()
    """Items of the scene that the answer depends on; empty if the question is about an absent item."""


@dataclass(frozen=True)
class Example:
    """One item of a benchmark or one row of a user's data: an image, a question and the accepted answers."""

    item: str
    """Identifier of the item in its benchmark."""
    image: Image.Image
    question: str
    answers: tuple[str, ...]
    benchmark: str
    group: str = ""
    """Category used by the benchmark's score or aggregate metric."""
    image_id: str = ""
    """Shared by all items about one image; empty if every item has its own image."""
    evidence: Evidence | None = None
    """The facts that the answer needs, where the benchmark knows them."""


class Composed(Protocol):
    """What the file of a composed benchmark defines."""

    LAYOUTS: tuple[str, ...]
    """Scene layouts that the benchmark samples from."""

    def ask(self, scene: Scene, rng: np.random.Generator) -> Question | None:
        """A question about the scene, or None if this scene allows none."""
        ...

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """1.0 for a correct answer, 0.0 for a wrong one."""
        ...


@dataclass(frozen=True)
class Spread:
    """A composed benchmark's task in the larger world (docs/world.md)."""

    task: str
    """One of `spread.TASKS`."""

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """1.0 for a correct answer, 0.0 for a wrong one; lists may be in any order."""
        return spread.score(prediction, answers)

    def example(self, split: str, index: int, seed: int = 0) -> Example:
        """Item `index`: a scene of its own, one question about it, and the facts that the answer needs."""
        scene, question = spread.ask(self.task, split, index, seed)
        name = f"{self.task}:{SPREAD}"
        evidence = Evidence(spread.GRID, (*question.units, *question.pointers))
        item = f"{name}/{split}/{index}"
        return Example(item, scene.image, question.text, (question.answer,), name, evidence=evidence)


def names() -> list[str]:
    """Names of all benchmarks, without variants."""
    return registry.names("benchmarks.tasks")


def composed() -> list[str]:
    """Names of the six composed benchmarks, which commands call `scenes` together."""
    return [name for name in names() if not isinstance(load(name), Published)]


def expand(word: str) -> list[str]:
    """The benchmarks that a word stands for: six for `scenes` and for `spread`, else the word itself."""
    if word == SPREAD:
        return [f"{name}:{SPREAD}" for name in composed()]
    return composed() if word == SCENES else [word]


def descriptions() -> list[str]:
    """One line per benchmark and variant: its name and its kind."""
    lines = []
    for name in names():
        benchmark = load(name)
        if isinstance(benchmark, Published):
            lines += [f"{name}{variant and ':'}{variant} (published)" for variant in ("", *benchmark.variants)]
        else:
            lines += [f"{name}{variant} (composed)" for variant in ("", f":{CROWDED}", f":{SPREAD}")]
    return lines


def load(name: str) -> Composed | Spread | Published:
    """A benchmark or one of its variants, such as `textvqa:ocr`, `reading:crowded` or `reading:spread`.

    Raises:
        ValueError: the name or the variant is unknown.
    """
    stem, colon, variant = name.partition(":")
    if stem not in names() or (colon and not variant):
        raise ValueError(
            f"unknown benchmark {name!r}; choose from {', '.join(names())}, `scenes` for {', '.join(composed())}, "
            "`spread` for the same six in the larger world, or a .jsonl file of yours"
        )
    module = registry.load("benchmarks.tasks", stem, "benchmark")
    if hasattr(module, "Benchmark"):
        return cast(Published, module.Benchmark(variant))
    if variant == SPREAD:
        return Spread(stem)
    if colon and variant != CROWDED:
        raise ValueError(f"benchmark {stem!r} has no variant {variant!r}, only {CROWDED} and {SPREAD}")
    return cast(Composed, module)


def composed_item(name: str, split: str, index: int, seed: int = 0) -> tuple[Scene, Question]:
    """Item `index` of a composed benchmark: a scene of its own and one question about it.

    The same arguments give the same item.

    Raises:
        ValueError: the benchmark or the split is unknown, or the benchmark is published or of the larger world, whose
            scenes are of another kind (`spread.ask`).
    """
    benchmark = load(name)
    if isinstance(benchmark, Published | Spread):
        raise ValueError(f"benchmark {name!r} is not composed of such scenes; choose from {', '.join(composed())}")
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
    """Item `index` of a composed benchmark as an example. Raises what `composed_item` raises."""
    benchmark = load(name)
    if isinstance(benchmark, Spread):
        return benchmark.example(split, index, seed)
    scene, question = composed_item(name, split, index, seed)
    return Example(f"{name}/{split}/{index}", scene.image, question.text, (question.answer,), name)


def score(example: Example, prediction: str, answers: Sequence[str]) -> float:
    """The benchmark's own score of a prediction, in [0, 1]. A user's data are scored by exact match.

    Args:
        answers: the accepted answers.

    Raises:
        ValueError: the example's benchmark is unknown.
    """
    if example.benchmark == EXACT:
        return exact_match(prediction, answers)
    return load(example.benchmark).score(prediction, answers, example.group)
