"""Composed counterpart of OCRBench: read a handwritten number of two to four digits. Every digit must be correct."""

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Scene

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("number",)


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    numbers = scene.of("number")
    return Question("What number is written?", numbers[0].name, (numbers[0],)) if len(numbers) == 1 else None
