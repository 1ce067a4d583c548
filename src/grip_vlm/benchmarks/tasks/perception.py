"""Composed counterpart of MME: yes/no questions about counts, colours and positions.

Every wording is as often answered by yes as by no.
"""

from collections import Counter

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Scene
from grip_vlm.benchmarks.scenes.compose import GRID
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, SHAPES

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("objects",)
COUNTS = {1: "exactly one", 2: "exactly two", 3: "exactly three", 4: "exactly four"}


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    return (_count, _colour, _position)[rng.integers(3)](scene, rng)


def _count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The scene holds a thing with the count in question and one whose count differs by one.

    Neither the number nor the wording then gives the answer away.
    """
    by_colour = rng.random() < 0.5
    shapes = scene.of("shape")
    counts = Counter(shape.colour if by_colour else shape.name for shape in shapes)
    things = {name: counts[name] for name in (COLOURS if by_colour else SHAPES)}
    target = int(rng.integers(1, 5))
    right = [name for name, count in things.items() if count == target]
    wrong = [name for name, count in things.items() if abs(count - target) == 1]
    if not right or not wrong:
        return None
    yes = rng.random() < 0.5
    options = right if yes else wrong
    name = options[rng.integers(len(options))]
    counted = tuple(shape for shape in shapes if name == (shape.colour if by_colour else shape.name))
    what = f"{name} shape" if by_colour else name
    plural = "s" if target > 1 else ""
    plural = "es" if plural and what == "cross" else plural
    verb = "Is" if target == 1 else "Are"
    return Question(f"{verb} there {COUNTS[target]} {what}{plural}?", "yes" if yes else "no", counted)


def _colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    counts = Counter(shape.name for shape in scene.of("shape"))
    single = [shape for shape in scene.of("shape") if counts[shape.name] == 1]
    if not single:
        return None
    shape = single[rng.integers(len(single))]
    if rng.random() < 0.5:
        return Question(f"Is the {shape.name} {shape.colour}?", "yes", (shape,))
    others = sorted({str(other.colour) for other in scene.of("shape")} - {str(shape.colour)})
    others = others if others and rng.random() < 0.5 else [colour for colour in COLOURS if colour != shape.colour]
    return Question(f"Is the {shape.name} {others[rng.integers(len(others))]}?", "no", (shape,))


def _position(scene: Scene, rng: np.random.Generator) -> Question | None:
    counts = Counter((shape.colour, shape.name) for shape in scene.of("shape"))
    single = [shape for shape in scene.of("shape") if counts[shape.colour, shape.name] == 1]
    if not single:
        return None
    shape = single[rng.integers(len(single))]
    across = rng.random() < 0.5
    offset = (shape.column if across else shape.row) + 1 - GRID / 2
    if abs(offset) < 1.5:
        return None  # too close to the middle to call
    low, high = ("left", "right") if across else ("top", "bottom")
    yes = rng.random() < 0.5
    side = low if (offset < 0) == yes else high
    return Question(f"Is the {shape.colour} {shape.name} in the {side} half?", "yes" if yes else "no", (shape,))
