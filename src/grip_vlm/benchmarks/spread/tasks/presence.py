"""POPE's stand-in: is it there? Of half of the questions the answer is yes, for every kind and number."""

import numpy as np

from grip_vlm.benchmarks.spread.colours import COLOURS
from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.tasks.perception import groups
from grip_vlm.benchmarks.spread.thing import SHAPES
from grip_vlm.benchmarks.spread.wording import matching, phrase, plural, singular, with_article

SINGLE = (
    "is there {a_thing}?",
    "can you see {a_thing}?",
    "does the image show {a_thing}?",
    "is there {a_thing} in the picture?",
    "do you see {a_thing} anywhere?",
    "would you say that there is {a_thing} here?",
    "is {a_thing} part of this image?",
)
BOTH = (
    "are there both {a_thing} and {another}?",
    "is there {a_thing} and also {another}?",
    "can you see {a_thing} as well as {another}?",
    "does the image show both {a_thing} and {another}?",
    "are {a_thing} and {another} both in the picture?",
    "do you find {a_thing} together with {another} here?",
    "is there {a_thing}, and is there {another} too?",
)
LEAST = (
    "are there at least {count} {things}?",
    "can you see at least {count} {things}?",
    "does the image show {count} or more {things}?",
    "are there {count} or more {things}?",
    "is the number of {things} at least {count}?",
    "would you count {count} {things} or more?",
    "are there no fewer than {count} {things} here?",
)
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
Group = tuple[str, str | None]


def _there(scene: Scene) -> list[Group]:
    """What can be said to be there: a photograph or digit, or a shape with its colour."""
    return sorted({(thing.name, thing.colour) for thing in scene.of("shape", "photograph", "digit")}, key=str)


def _absent(scene: Scene, rng: np.random.Generator) -> Group:
    """A coloured shape that is not there; half of the time its colour and its kind both are, where that is possible."""
    there = {group for group in _there(scene) if group[1]}
    mixed = sorted({(kind, colour) for kind, _ in there for _, colour in there} - there)
    others = [(kind, colour) for kind in SHAPES for colour in COLOURS if (kind, colour) not in there]
    options = mixed if mixed and rng.random() < 0.5 else others
    return options[rng.integers(len(options))]


def _units(scene: Scene, *groups: Group) -> tuple[tuple[int, ...], ...]:
    """One unit for each group that is there: the patches of all things of that group."""
    candidates = [matching(scene, *group) for group in groups]
    return tuple(sum((thing.patches for thing in things), ()) for things in candidates if things)


def single(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """A coloured shape. Where the answer is no there is no evidence."""
    there = [group for group in _there(scene) if group[1]]
    if not there:
        return None
    group = there[rng.integers(len(there))] if want % 2 else _absent(scene, rng)
    text = phrase(rng, scene.split, SINGLE, a_thing=with_article(singular(*group)))
    return Question(text, "yes" if want % 2 else "no", "presence", "single", _units(scene, group))


def both(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """Two coloured shapes, one of which is always there. Where the answer is no, that one is the evidence."""
    there = [group for group in _there(scene) if group[1]]
    if len(there) < 2:
        return None
    first, second = (there[i] for i in rng.permutation(len(there))[:2])
    if want % 2 == 0:
        absent = _absent(scene, rng)
        first, second = (first, absent) if rng.random() < 0.5 else (absent, first)
    names = {"a_thing": with_article(singular(*first)), "another": with_article(singular(*second))}
    text = phrase(rng, scene.split, BOTH, **names)
    return Question(text, "yes" if want % 2 else "no", "presence", "both", _units(scene, first, second))


def least(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """Two to seven of a kind, of a colour, or of both: there are as many, or, where the answer is no, one fewer."""
    least = 2 + want // 2 % 6
    candidates = groups(scene, least if want % 2 else least - 1)
    if not candidates:
        return None
    group = candidates[rng.integers(len(candidates))]
    text = phrase(rng, scene.split, LEAST, count=NUMBERS[least], things=plural(*group))
    units = tuple(thing.patches for thing in matching(scene, *group))
    return Question(text, "yes" if want % 2 else "no", "presence", "least", units)


ASKED: Asked = ((single, "objects", 1), (both, "objects", 2), (least, "objects", 2))
