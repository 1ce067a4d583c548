"""MME's stand-in: how many there are, in which colours, where one is from another, and what colour it has."""

import numpy as np

from grip_vlm.benchmarks.spread.colours import COLOURS
from grip_vlm.benchmarks.spread.pixels import CLOTHES
from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.thing import PATCH, SHAPES
from grip_vlm.benchmarks.spread.wording import listed, matching, named, phrase, plural

COUNT = (
    "how many {things} are there?",
    "how many {things} can you see?",
    "what is the number of {things}?",
    "count the {things}.",
    "how many {things} does the image show?",
    "in total, how many {things} are in the picture?",
    "tell me how many {things} there are here.",
)
SUM = (
    "how many {things} and {others} are there together?",
    "how many {things} and {others} are there in all?",
    "count the {things} and the {others}: how many are they together?",
    "what is the number of {things} plus the number of {others}?",
    "if you count {things} and {others}, how many do you get?",
    "taken together, how many {things} and {others} can you see?",
    "add up the {things} and the {others}. How many?",
)
COLOURS_OF = (
    "which colours do the {things} have?",
    "what colours are the {things}?",
    "list the colours of the {things}.",
    "in which colours are there {things}?",
    "which colours can you see among the {things}?",
    "name every colour that {things} have here.",
    "the {things} come in which colours?",
)
KINDS_OF = (
    "which kinds of shapes are {colour}?",
    "what kinds of {colour} shapes are there?",
    "list the kinds of shapes that are {colour}.",
    "name the kinds of {colour} shapes.",
    "of which kinds are the {colour} shapes?",
    "which kinds of shapes come in {colour}?",
    "among the shapes, which kinds have the colour {colour}?",
)
RELATION = (
    "where is the {one} from the {other}: left, right, above or below?",
    "is the {one} to the left, to the right, above or below the {other}?",
    "seen from the {other}, where is the {one}: left, right, above or below?",
    "on which side of the {other} is the {one}: left, right, above or below?",
    "relative to the {other}, is the {one} left, right, above or below?",
    "left, right, above or below: where does the {one} lie from the {other}?",
    "starting at the {other}, do you go left, right, above or below to reach the {one}?",
)
COLOUR = (
    "what colour is the {one}?",
    "what is the colour of the {one}?",
    "which colour does the {one} have?",
    "the {one} has which colour?",
    "name the colour of the {one}.",
    "in what colour is the {one} shown?",
    "tell me the colour of the {one}.",
)
FAR = 4 * PATCH  # pixels between the centres of two things whose relation is asked for


def groups(scene: Scene, count: int) -> list[tuple[str, str | None]]:
    """Kinds, colours and both, of which the scene shows exactly `count`; for zero, also those it shows nothing of."""
    things = scene.of("shape", "photograph", "digit")
    kinds = sorted({thing.name for thing in things})
    colours = sorted({thing.colour for thing in things if thing.colour})
    if count == 0:
        kinds += [kind for kind in (*SHAPES, *CLOTHES, *"0123456789") if kind not in kinds]
        colours += [colour for colour in COLOURS if colour not in colours]
    alone: list[tuple[str, str | None]] = [(kind, None) for kind in kinds]
    by_colour: list[tuple[str, str | None]] = [("shape", colour) for colour in colours]
    both: list[tuple[str, str | None]] = [(kind, colour) for kind in kinds if kind in SHAPES for colour in colours]
    return [group for group in (*alone, *by_colour, *both) if len(matching(scene, *group)) == count]


def count(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """Nothing to nine of a kind, of a colour, or of both; each of the ten answers is wanted as often as the others."""
    way = want // 10 % 3
    candidates = [
        (kind, colour) for kind, colour in groups(scene, want % 10) if (kind == "shape", colour is None) == WAYS[way]
    ]
    if not candidates:
        return None
    group = candidates[rng.integers(len(candidates))]
    text = phrase(rng, scene.split, COUNT, things=plural(*group))
    counted = matching(scene, *group)
    return Question(text, str(len(counted)), "perception", "count", tuple(thing.patches for thing in counted))


WAYS = ((False, True), (True, False), (False, False))  # by kind, by colour, by both


def total(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """How many there are of two kinds together, two to nine."""
    kinds = sorted({thing.name for thing in scene.of("shape", "photograph", "digit")})
    pairs = [
        (one, other)
        for one in kinds
        for other in kinds
        if one < other and len(matching(scene, one, None)) + len(matching(scene, other, None)) == 2 + want % 8
    ]
    if not pairs:
        return None
    one, other = pairs[rng.integers(len(pairs))]
    one, other = (one, other) if rng.random() < 0.5 else (other, one)
    counted = [*matching(scene, one, None), *matching(scene, other, None)]
    text = phrase(rng, scene.split, SUM, things=plural(one), others=plural(other))
    return Question(text, str(len(counted)), "perception", "total", tuple(thing.patches for thing in counted))


def colours(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The two to four colours of a kind of shape. A unit is a colour: the patches of all that have it."""
    tints = {kind: sorted({str(t.colour) for t in matching(scene, kind, None)}) for kind in SHAPES}
    candidates = [kind for kind in SHAPES if len(tints[kind]) == 2 + want % 3]
    if not candidates:
        return None
    kind = candidates[rng.integers(len(candidates))]
    units = tuple(sum((t.patches for t in matching(scene, kind, colour)), ()) for colour in tints[kind])
    text = phrase(rng, scene.split, COLOURS_OF, things=plural(kind))
    return Question(text, listed(tints[kind]), "perception", "colours", units)


def kinds(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The two to four kinds of shapes of a colour. A unit is a kind: the patches of all that are of it."""
    names = {colour: sorted({t.name for t in matching(scene, None, colour)}) for colour in COLOURS}
    candidates = [colour for colour in COLOURS if len(names[colour]) == 2 + want % 3]
    if not candidates:
        return None
    colour = candidates[rng.integers(len(candidates))]
    units = tuple(sum((t.patches for t in matching(scene, kind, colour)), ()) for kind in names[colour])
    text = phrase(rng, scene.split, KINDS_OF, colour=colour)
    return Question(text, listed(names[colour]), "perception", "kinds", units)


def relation(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """On which side of one thing another is; the other axis differs half as much at most."""
    side = ("left", "right", "above", "below")[want % 4]
    single = [thing for thing in scene.of("shape", "photograph", "digit") if named(scene, thing)]
    pairs = []
    for one in single:
        for other in single:
            dx, dy = one.centre[0] - other.centre[0], one.centre[1] - other.centre[1]
            along, across = (dx, dy) if side in ("left", "right") else (dy, dx)
            along = -along if side in ("left", "above") else along
            if along >= FAR and abs(across) <= along / 2:
                pairs.append((along, one, other))
    if not pairs:
        return None
    # The nearest pair: of two things far apart, where one of them is in the image tells where the other is.
    _, one, other = min(pairs, key=lambda pair: pair[0])
    names = {"one": str(named(scene, one)), "other": str(named(scene, other))}
    text = phrase(rng, scene.split, RELATION, **names)
    return Question(text, side, "perception", "relation", (one.patches, other.patches))


def colour(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The colour of the only shape of its kind."""
    wanted = COLOURS[want % len(COLOURS)]
    candidates = [t for t in matching(scene, None, wanted) if len(matching(scene, t.name, None)) == 1]
    if not candidates:
        return None
    thing = candidates[rng.integers(len(candidates))]
    text = phrase(rng, scene.split, COLOUR, one=thing.name)
    return Question(text, wanted, "perception", "colour", (thing.patches,))


ASKED: Asked = (
    (count, "objects", 8),
    (total, "objects", 3),
    (colours, "objects", 3),
    (kinds, "objects", 2),
    (relation, "objects", 3),
    (colour, "objects", 1),
)
