"""Lessons: questions that only training asks, about one fact each, answered by one word.

The benchmarks ask mostly for yes or no and for option letters, which say little about what the model did not see. A
question such as "What colour is the star?" teaches the same lookup with six times the signal. Harder questions build on
it.
"""

from collections import Counter

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.scenes import Item, Scene
from grip_vlm.benchmarks.scenes.compose import GRID


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    """One lesson about a scene of any layout, or None if the sampled lesson does not apply to it."""
    numbers, labels = scene.of("number"), scene.of("label")
    lessons = [_colour, _shape, _count, _side]
    if numbers:
        lessons += [_digit, _digit]
    if labels or any(number.partner is not None for number in numbers):
        lessons += [_partner] * 4
    return lessons[rng.integers(len(lessons))](scene, rng)


def _pick(items: list[Item], rng: np.random.Generator) -> Item | None:
    return items[rng.integers(len(items))] if items else None


def _single(scene: Scene, field: str) -> list[Item]:
    """Shapes whose `field` (name or colour) no other shape of the scene has."""
    counts = Counter(getattr(shape, field) for shape in scene.of("shape"))
    return [shape for shape in scene.of("shape") if counts[getattr(shape, field)] == 1]


def _colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape = _pick(_single(scene, "name"), rng)
    return None if shape is None else Question(f"What colour is the {shape.name}?", str(shape.colour))


def _shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape = _pick(_single(scene, "colour"), rng)
    return None if shape is None else Question(f"Which shape is {shape.colour}?", shape.name)


def _count(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape = _pick(scene.of("shape"), rng)
    if shape is None:
        return None
    if rng.random() < 0.5:
        count = sum(other.colour == shape.colour for other in scene.of("shape"))
        return Question(f"How many {shape.colour} shapes are there?", str(count))
    count = sum(other.name == shape.name for other in scene.of("shape"))
    return Question(f"How many {shape.name} shapes are there?", str(count))


def _side(scene: Scene, rng: np.random.Generator) -> Question | None:
    shape = _pick(_single(scene, "name"), rng)
    if shape is None:
        return None
    across, down = shape.column + 1 - GRID // 2, shape.row + 1 - GRID // 2
    if rng.random() < 0.5 and abs(across) > 1:
        return Question(f"Is the {shape.name} in the left or right half?", "left" if across < 0 else "right")
    if abs(down) > 1:
        return Question(f"Is the {shape.name} in the top or bottom half?", "top" if down < 0 else "bottom")
    return None


def _digit(scene: Scene, rng: np.random.Generator) -> Question | None:
    number = _pick(scene.of("number"), rng)
    if number is None:
        return None
    if len(scene.of("number")) > 1:
        return Question(f"What colour is the frame of {number.name}?", str(number.colour))
    which = int(rng.integers(len(number.name)))
    return Question(f"What is digit {which + 1} of the number?", number.name[which])


def _partner(scene: Scene, rng: np.random.Generator) -> Question | None:
    """From a number or label to the shape that belongs to it, or the reverse."""
    owner = _pick([item for item in scene.items if item.kind != "shape" and item.partner is not None], rng)
    shape = None if owner is None else scene.partner(owner)
    if owner is None or shape is None:
        return None
    if owner.kind == "label":
        return (
            Question(f"What colour is the shape pointing to label {owner.name}?", str(shape.colour)),
            Question(f"Which shape points to label {owner.name}?", shape.name),
            Question(f"Which label does the {shape.colour} shape point to?", owner.name),
        )[rng.integers(3)]
    return (
        Question(f"What colour is the shape next to number {owner.name}?", str(shape.colour)),
        Question(f"Which shape is next to number {owner.name}?", shape.name),
        Question(f"Which shape is next to the {owner.colour} frame?", shape.name),
    )[rng.integers(3)]
