"""TextVQA's stand-in: what is written on the sign, among several, that the question points to."""

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.thing import Thing
from grip_vlm.benchmarks.spread.wording import listed, named, phrase

FRAME = (
    "what is written on the {colour} sign?",
    "what does the {colour} sign say?",
    "what is on the sign with the {colour} frame?",
    "read the {colour} sign.",
    "what can you read inside the {colour} frame?",
    "which text has a {colour} frame around it?",
    "tell me what the sign framed in {colour} says.",
)
BESIDE = (
    "what is written on the sign beside the {one}?",
    "what does the sign next to the {one} say?",
    "read the sign beside the {one}.",
    "which text is next to the {one}?",
    "what is on the sign that is beside the {one}?",
    "the {one} has a sign at its side: what does it say?",
    "what can be read right next to the {one}?",
)
BELOW = (
    "what does the sign directly {side} the {colour} one say?",
    "what is written on the next sign {side} the {colour} sign?",
    "read the next sign {side} the {colour} one.",
    "which text is on the sign just {side} the {colour} sign?",
    "what is on the first sign {side} the {colour} one?",
    "go to the next sign {side} the {colour} one: what is on it?",
    "find the {colour} sign. What does the sign right {side} it say?",
)
TWO = (
    "what is written on the {colour} and on the {other} sign?",
    "what do the {colour} sign and the {other} sign say?",
    "read the {colour} and the {other} sign.",
    "which texts are on the {colour} and the {other} sign?",
    "what can you read inside the {colour} and the {other} frame?",
    "name both texts: the one framed in {colour} and the one framed in {other}.",
    "tell me what the {colour} and {other} signs say.",
)


def _signs(scene: Scene) -> list[Thing]:
    """The framed texts from top to bottom."""
    return sorted((thing for thing in scene.of("text") if thing.framed), key=lambda thing: thing.row)


def _one(rng: np.random.Generator, signs: list[Thing]) -> Thing:
    return signs[rng.integers(len(signs))]


def frame(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The sign of a colour."""
    signs = _signs(scene)
    if not signs:
        return None
    sign = _one(rng, signs)
    text = phrase(rng, scene.split, FRAME, colour=str(sign.colour))
    return Question(text, sign.name, "pointing", "frame", sign.characters, (sign.frame,))


def beside(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The sign beside a shape or photograph."""
    pairs = [(sign, scene.partner(sign)) for sign in _signs(scene)]
    known = [(sign, thing) for sign, thing in pairs if thing is not None and named(scene, thing)]
    if not known:
        return None
    sign, thing = known[rng.integers(len(known))]
    text = phrase(rng, scene.split, BESIDE, one=str(named(scene, thing)))
    return Question(text, sign.name, "pointing", "beside", sign.characters, (thing.patches,))


def below(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The next sign above or below the sign of a colour."""
    signs = _signs(scene)
    if len(signs) < 2:
        return None
    at, down = int(rng.integers(len(signs) - 1)), rng.random() < 0.5
    start, end = (signs[at], signs[at + 1]) if down else (signs[at + 1], signs[at])
    text = phrase(rng, scene.split, BELOW, side="below" if down else "above", colour=str(start.colour))
    return Question(text, end.name, "pointing", "below", end.characters, (start.frame,))


def two(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The signs of two colours; the answer is a list."""
    signs = _signs(scene)
    if len(signs) < 2:
        return None
    one, other = (signs[i] for i in rng.permutation(len(signs))[:2])
    text = phrase(rng, scene.split, TWO, colour=str(one.colour), other=str(other.colour))
    units = (*one.characters, *other.characters)
    return Question(text, listed([one.name, other.name]), "pointing", "two", units, (one.frame, other.frame))


ASKED: Asked = ((frame, "signs", 3), (beside, "signs", 3), (below, "signs", 2), (two, "signs", 2))
