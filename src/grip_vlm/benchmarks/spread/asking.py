"""Items of the six tasks, each with a scene of its own, and the many questions that one scene allows."""

import zlib

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import LAYOUTS, Scene, compose
from grip_vlm.benchmarks.spread.tasks import Asked, choice, diagram, distinct, perception, pointing, presence, reading

_ASKED: dict[str, Asked] = {
    "choice": choice.ASKED,
    "diagram": diagram.ASKED,
    "perception": perception.ASKED,
    "pointing": pointing.ASKED,
    "presence": presence.ASKED,
    "reading": reading.ASKED,
}
TASKS = tuple(_ASKED)
TRIES = 2000  # scenes looked at for one item; a few are enough, some forty for the rarest answer


def ask(task: str, split: str, index: int, seed: int = 0) -> tuple[Scene, Question]:
    """Item `index` of a task's split; the same arguments give the same scene and question.

    Which kind is asked and which answer is aimed at is drawn first, so that answers are balanced.

    Raises:
        ValueError: an unknown task or split, or a negative index or seed.
    """
    if task not in _ASKED:
        raise ValueError(f"unknown task {task!r}; choose from {', '.join(TASKS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"index {index} and seed {seed} must not be negative")
    start = zlib.crc32(task.encode())
    rng = np.random.default_rng([seed, start, index])
    shares = np.array([share for _, _, share in _ASKED[task]], dtype=float)
    kind, layout, _ = _ASKED[task][rng.choice(len(shares), p=shares / shares.sum())]
    want = int(rng.integers(10000))
    for attempt in range(TRIES):
        scene = compose(split, start + TRIES * index + attempt, seed, layout)
        question = kind(scene, rng, want)
        if question is not None:
            return scene, question
    raise RuntimeError(f"{task} found no question of kind {kind.__name__} with {want} in {TRIES} scenes")


def questions(scene: Scene, rng: np.random.Generator, tries: int = 40) -> list[Question]:
    """Different questions of the six tasks about one scene, in random order; most scenes allow nine to thirty.

    Answers are not balanced here as in `ask`, but each try aims at an answer in the same way.
    """
    kinds = [(kind, share) for asked in _ASKED.values() for kind, layout, share in asked if layout == scene.layout]
    assert scene.layout in LAYOUTS
    return distinct(kinds, scene, rng, tries)
