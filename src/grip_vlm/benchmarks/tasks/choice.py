"""Composed counterpart of ScienceQA: four options and an answer letter. About half of the questions need two facts."""

from collections import Counter

import numpy as np

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.exact import exact_match as score
from grip_vlm.benchmarks.scenes import Item, Scene
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, SHAPES

__all__ = ["LAYOUTS", "ask", "score"]

LAYOUTS = ("objects", "signs", "diagram")


def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
    if scene.layout in ("signs", "diagram") and rng.random() < 0.75:
        return _two_facts(scene, rng)
    return _one_fact(scene, rng)


def _options(text: str, right: str, wrong: list[str], rng: np.random.Generator, evidence: tuple[Item, ...]) -> Question:
    """A question with four options in random order. The answer is the letter of the correct one."""
    options = [right, *(wrong[i] for i in rng.permutation(len(wrong))[:3])]
    order = rng.permutation(4)
    lines = " ".join(f"{letter} {options[i]}" for letter, i in zip("ABCD", order, strict=True))
    return Question(f"{text} {lines}", "ABCD"[int(np.flatnonzero(order == 0)[0])], evidence)


def _one_fact(scene: Scene, rng: np.random.Generator) -> Question | None:
    shapes = scene.of("shape")
    names, colours = Counter(shape.name for shape in shapes), Counter(shape.colour for shape in shapes)
    if rng.random() < 0.5:
        single = [shape for shape in shapes if names[shape.name] == 1]
        if not single:
            return None
        shape = single[rng.integers(len(single))]
        wrong = [colour for colour in COLOURS if colour != shape.colour]
        return _options(f"What colour is the {shape.name}?", str(shape.colour), wrong, rng, (shape,))
    single = [shape for shape in shapes if colours[shape.colour] == 1]
    if not single:
        return None
    shape = single[rng.integers(len(single))]
    return _options(
        f"Which shape is {shape.colour}?", shape.name, [s for s in SHAPES if s != shape.name], rng, (shape,)
    )


def _two_facts(scene: Scene, rng: np.random.Generator) -> Question | None:
    """The question names a shape by its partner: the label that its arrow reaches, or the number beside it."""
    owners = [item for item in scene.items if item.kind in ("number", "label") and item.partner is not None]
    if not owners:
        return None
    owner = owners[rng.integers(len(owners))]
    shape = scene.partner(owner)
    assert shape is not None
    evidence = (owner, shape)
    if owner.kind == "label":
        wrong = [colour for colour in COLOURS if colour != shape.colour]
        return _options(
            f"What colour is the shape pointing to label {owner.name}?", str(shape.colour), wrong, rng, evidence
        )
    if rng.random() < 0.5:
        wrong = [colour for colour in COLOURS if colour != shape.colour]
        return _options(
            f"What colour is the shape next to number {owner.name}?", str(shape.colour), wrong, rng, evidence
        )
    wrong = [name for name in SHAPES if name != shape.name]
    return _options(f"Which shape is next to number {owner.name}?", shape.name, wrong, rng, evidence)
