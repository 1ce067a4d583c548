"""AI2D's stand-in: following one arrow or two, and finding a bar by its height."""

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.thing import Patches, Thing
from grip_vlm.benchmarks.spread.wording import phrase

FOLLOW = (
    "what is written in the box that the arrow from {one} leads to?",
    "follow the arrow from {one}. What does it say there?",
    "{one} points to which text?",
    "what does the box at the end of the arrow from {one} say?",
    "which text does {one} point to?",
    "start at {one} and go along its arrow: what do you read?",
    "an arrow leaves {one}. What is written where it ends?",
)
BACK = (
    "what is written in the box whose arrow leads to {one}?",
    "which text points to {one}?",
    "what does the box with an arrow to {one} say?",
    "go back along the arrow that ends at {one}. What does it say there?",
    "an arrow leads to {one}: which text does it come from?",
    "from which text does an arrow go to {one}?",
    "{one} is pointed at by a box. What is written in it?",
)
CHAIN = (
    "start at {one} and follow two arrows. What does it say there?",
    "what is written two arrows after {one}?",
    "follow the arrow from {one}, then the next arrow. Which text do you reach?",
    "which text is two arrows away from {one}?",
    "go from {one} along two arrows: what do you read?",
    "what does the box say that you reach from {one} by two arrows?",
    "take the arrow from {one} and the one after it. What is written at the end?",
)
BAR = (
    "what is written under the {which} bar?",
    "which text belongs to the {which} bar?",
    "what is the label of the {which} bar?",
    "read the label of the {which} bar.",
    "what does it say below the {which} bar?",
    "the {which} bar stands for what?",
    "name what the {which} bar stands on.",
)
TALLER = (
    "how many bars are {than} than the {colour} bar?",
    "how many bars are {than} than the {colour} one?",
    "count the bars that are {than} than the {colour} one.",
    "what is the number of bars {than} than the {colour} bar?",
    "next to the {colour} bar, how many bars are {than}?",
    "looking at the {colour} bar, how many others are {than}?",
    "how often is there a bar {than} than the {colour} one?",
)


def _arrow_from(scene: Scene, at: int) -> Thing | None:
    return next((arrow for arrow in scene.of("arrow") if arrow.source == at), None)


def called(thing: Thing) -> str:
    """A box by its colour, a shape by its kind."""
    return f"the {thing.colour} box" if thing.part == "text" else f"the {thing.name}"


def shown(thing: Thing) -> Patches:
    """Where the colour of a box, or a shape, is seen."""
    return thing.frame if thing.part == "text" else thing.patches


def _parts(*arrows: Thing) -> tuple[Patches, ...]:
    return tuple(part for arrow in arrows for part in (arrow.shaft, arrow.head))


def follow(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The box that an arrow leads to."""
    things = scene.things
    candidates = [arrow for arrow in scene.of("arrow") if things[int(arrow.target or 0)].part == "text"]
    if not candidates:
        return None
    arrow = candidates[rng.integers(len(candidates))]
    start, end = things[int(arrow.source or 0)], things[int(arrow.target or 0)]
    text = phrase(rng, scene.split, FOLLOW, one=called(start))
    return Question(text, end.name, "diagram", "follow", end.characters, (shown(start), *_parts(arrow)))


def back(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The box that an arrow comes from."""
    things = scene.things
    candidates = [arrow for arrow in scene.of("arrow") if things[int(arrow.source or 0)].part == "text"]
    if not candidates:
        return None
    arrow = candidates[rng.integers(len(candidates))]
    start, end = things[int(arrow.source or 0)], things[int(arrow.target or 0)]
    text = phrase(rng, scene.split, BACK, one=called(end))
    return Question(text, start.name, "diagram", "back", start.characters, (shown(end), *_parts(arrow)))


def chain(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The box that two arrows lead to, one after the other."""
    candidates = []
    for first in scene.of("arrow"):
        second = _arrow_from(scene, int(first.target or 0))
        if second is not None and scene.things[int(second.target or 0)].part == "text":
            candidates.append((first, second))
    if not candidates:
        return None
    first, second = candidates[rng.integers(len(candidates))]
    start, middle, end = (scene.things[int(at or 0)] for at in (first.source, first.target, second.target))
    text = phrase(rng, scene.split, CHAIN, one=called(start))
    pointers = (shown(start), *_parts(first), shown(middle), *_parts(second))
    return Question(text, end.name, "diagram", "chain", end.characters, pointers)


def bar(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The label of the tallest, lowest, second tallest or second lowest bar; the tops of all bars point to it."""
    bars = sorted(scene.of("bar"), key=lambda thing: thing.height)
    if len(bars) < 3:
        return None
    which, at = (("tallest", -1), ("lowest", 0), ("second tallest", -2), ("second lowest", 1))[want % 4]
    label = scene.partner(bars[at])
    assert label is not None
    text = phrase(rng, scene.split, BAR, which=which)
    return Question(text, label.name, "diagram", "bar", label.characters, tuple(thing.top for thing in bars))


def taller(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """How many bars are taller, or lower, than the bar of a colour: nothing to five."""
    bars = sorted(scene.of("bar"), key=lambda thing: thing.height)
    more = rng.random() < 0.5
    if len(bars) <= want % 6:
        return None
    one = bars[-1 - want % 6] if more else bars[want % 6]
    counted = [thing for thing in bars if (thing.height > one.height if more else thing.height < one.height)]
    text = phrase(rng, scene.split, TALLER, than="taller" if more else "lower", colour=str(one.colour))
    units = tuple(thing.top for thing in counted)
    return Question(text, str(len(counted)), "diagram", "taller", units, (one.top,))


ASKED: Asked = (
    (follow, "diagram", 2),
    (back, "diagram", 2),
    (chain, "diagram", 2),
    (bar, "chart", 2),
    (taller, "chart", 1),
)
