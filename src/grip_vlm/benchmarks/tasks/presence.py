"""Composed counterpart of POPE: is a thing there? Many absent things combine a colour and a shape of the scene."""

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Scene
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, SHAPES

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("objects", "number", "signs", "diagram")


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    shapes = scene.of("shape")
    if not shapes:
        return None
    there = {(str(shape.colour), shape.name) for shape in shapes}
    if rng.random() < 0.5:
        colour, name = _pick(sorted(there), rng)
        evidence = tuple(shape for shape in shapes if (shape.colour, shape.name) == (colour, name))
        return Question(f"Is there a {colour} {name}?", "yes", evidence)
    mixed = sorted({(str(a.colour), b.name) for a in shapes for b in shapes} - there)
    absent = [(colour, name) for colour in COLOURS for name in SHAPES if (colour, name) not in there]
    colour, name = _pick(mixed if mixed and rng.random() < 0.5 else absent, rng)
    return Question(f"Is there a {colour} {name}?", "no")


def _pick(options: list[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    return options[rng.integers(len(options))]
