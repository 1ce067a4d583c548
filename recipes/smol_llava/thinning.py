"""Which visual tokens a training step shows: what the asked questions need, and of the rest as much as fits.

A step on 96 of 576 tokens costs less than half of one on all, and a model that has seen images thinned can read from
few tokens. Of each fact that a question needs, such as a character or a counted thing, one patch at least is shown.
"""

import numpy as np
import torch
from torch import Tensor

from grip_vlm.benchmarks.spread import GRID, Question, Scene

PATCHES = GRID * GRID


def answerable(questions: list[Question], budget: int) -> list[Question]:
    """The questions, in their order, as long as one patch of each of their facts finds room in `budget` patches."""
    facts: set[tuple[int, ...]] = set()
    kept = []
    for question in questions:
        wider = facts | {*question.units, *question.pointers}
        if len(wider) <= budget:
            facts = wider
            kept.append(question)
    return kept


def thin(scene: Scene, questions: list[Question], count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `count` patches, rising; `questions` have to be answerable from as many.

    A patch of each needed fact comes first, then things, of which a random share steps back behind the background.
    """
    order = rng.random(PATCHES)
    things = scene.labels.reshape(PATCHES, -1)[:, 0] > 0
    order[things & (rng.random(PATCHES) < rng.uniform(0.3, 1.0))] -= 1
    for fact in {fact for question in questions for fact in (*question.units, *question.pointers)}:
        order[fact[rng.integers(len(fact))]] -= 2
    return np.sort(np.argsort(order)[:count])


def thinned(
    scenes: list[Scene], asked: list[list[Question]], count: int, rng: np.random.Generator
) -> tuple[list[list[Question]], Tensor]:
    """The questions that stay answerable, and the visual tokens shown, (B, count)."""
    if count >= PATCHES:
        return asked, torch.arange(PATCHES).expand(len(scenes), -1)
    fit = [answerable(questions, count) for questions in asked]
    kept = [thin(scene, questions, count, rng) for scene, questions in zip(scenes, fit, strict=True)]
    return fit, torch.from_numpy(np.stack(kept))
