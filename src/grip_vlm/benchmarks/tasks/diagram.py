"""Composed counterpart of AI2D: follow an arrow from a shape to its letter label, or back."""

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Scene

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("diagram",)


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    sources = [shape for shape in scene.of("shape") if scene.layout == "diagram" and shape.partner is not None]
    if not sources:
        return None
    source = sources[rng.integers(len(sources))]
    target = scene.partner(source)
    assert target is not None
    if rng.random() < 0.6:
        return Question(f"Which label does the {source.name} point to?", target.name, (source, target))
    return Question(f"Which shape points to label {target.name}?", source.name, (source, target))
