"""Composed counterpart of TextVQA: read one of several numbers, the one that the question points to."""

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Scene

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("signs",)


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    numbers = scene.of("number")
    if len(numbers) < 2:
        return None
    number = numbers[rng.integers(len(numbers))]
    beside = scene.partner(number)
    if beside is not None and rng.random() < 0.5:
        return Question(f"What number is next to the {beside.name}?", number.name, (beside, number))
    return Question(f"What number is in the {number.colour} frame?", number.name, (number,))
