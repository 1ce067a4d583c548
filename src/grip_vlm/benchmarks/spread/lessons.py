"""Single facts in words, which only training asks: they teach a language model what a patch says.

The tasks ask for counts, lists and texts, which teach little while a model cannot tell a star from a heart. A lesson is
answered from one thing or two, in a word or two.
"""

import numpy as np

from grip_vlm.benchmarks.spread.labels import heading
from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Ask, diagram, distinct, perception, presence, reading
from grip_vlm.benchmarks.spread.thing import GRID, Patches, Thing
from grip_vlm.benchmarks.spread.wording import matching, named, singular

WAYS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
NTH = ("first", "second", "third", "fourth", "fifth", "sixth")


def _one(rng: np.random.Generator, things: list[Thing]) -> Thing | None:
    return things[rng.integers(len(things))] if things else None


def _lesson(text: str, answer: str, kind: str, *units: Patches) -> Question:
    return Question(text, answer, "lesson", kind, units)


def _called(thing: Thing) -> str:
    return f'"{thing.name}"' if thing.part == "text" else singular(thing.name, thing.colour)


def _text(scene: Scene, rng: np.random.Generator) -> tuple[Thing, str] | None:
    """A text, and words that mean it alone."""
    texts = scene.of("text")
    ways = [(text, f"text on the {text.colour} sign") for text in texts if text.framed]
    ways += [(text, f"text in {text.colour}") for text in texts if text.colour and not text.framed]
    bars = [(scene.partner(bar), bar) for bar in scene.of("bar")]
    ways += [(text, f"text under the {bar.colour} bar") for text, bar in bars if text is not None]
    if scene.layout == "page":
        rows = reading.lines(scene)
        ways += [(text[0], f"text on line {at}") for at, text in enumerate(rows, start=1) if len(text) == 1]
        ways += [
            (row[at], f"{NTH[at]} text on line {1 + i}") for i, row in enumerate(rows) if len(row) > 1 for at in (0, 1)
        ]
    return ways[rng.integers(len(ways))] if ways else None


def place(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """What is in one of nine regions of the image, where one thing alone reaches into it."""
    row, column = divmod(int(rng.integers(9)), 3)
    side = GRID // 3
    inside = [
        thing
        for thing in scene.of("shape", "photograph", "digit", "text")
        if thing.row < (row + 1) * side
        and thing.row + thing.height > row * side
        and thing.column < (column + 1) * side
        and thing.column + thing.width > column * side
    ]
    if len(inside) != 1:
        return None
    where = f"{('top', 'middle', 'bottom')[row]} {('left', 'centre', 'right')[column]}"
    answer = inside[0].name if inside[0].part == "text" else singular(inside[0].name, inside[0].colour)
    return _lesson(f"What is at the {where}?", answer, "place", inside[0].patches)


def character(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """One character of a text, by its place from the front or the end."""
    described = _text(scene, rng)
    if described is None:
        return None
    text, where = described
    what = "digit" if text.name.isdigit() else "letter"
    at = int(rng.integers(min(len(text.name), len(NTH))))
    nth, at = (NTH[at], at) if rng.random() < 0.7 else ("last", len(text.name) - 1)
    return _lesson(f"What is the {nth} {what} of the {where}?", text.name[at], "character", text.characters[at])


def spell(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """A text, one character after another, or as a whole."""
    described = _text(scene, rng)
    if described is None:
        return None
    text, where = described
    if rng.random() < 0.5:
        return _lesson(f"Spell the {where}.", " ".join(text.name), "spell", *text.characters)
    return _lesson(f"Read the {where}.", text.name, "read", *text.characters)


def length(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """How many characters a text has."""
    described = _text(scene, rng)
    if described is None:
        return None
    text, where = described
    return _lesson(f"How many characters has the {where}?", str(len(text.name)), "length", *text.characters)


def tint(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The colour of the frame, ink or bar of a text."""
    text = _one(rng, [text for text in scene.of("text") if text.colour or text.partner is not None])
    if text is None:
        return None
    partner = scene.partner(text)
    if partner is not None and partner.part == "bar":
        return _lesson(f'What colour is the bar of "{text.name}"?', str(partner.colour), "tint", partner.patches)
    if text.colour is None:
        return None
    what = f'the frame of "{text.name}"' if text.framed else f'the text "{text.name}"'
    seen = text.frame if text.framed else text.patches
    return _lesson(f"What colour is {what}?", str(text.colour), "tint", seen)


def shape(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The kind of the only shape of its colour."""
    thing = _one(rng, [t for t in scene.of("shape") if len(matching(scene, None, t.colour)) == 1])
    return None if thing is None else _lesson(f"Which shape is {thing.colour}?", thing.name, "shape", thing.patches)


def beside(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """What is beside a sign, and which sign is beside a thing."""
    sign = _one(rng, [text for text in scene.of("text") if text.framed and text.partner is not None])
    thing = None if sign is None else scene.partner(sign)
    if sign is None or thing is None:
        return None
    name = named(scene, thing)
    if name and rng.random() < 0.5:
        return _lesson(f"What colour is the sign beside the {name}?", str(sign.colour), "beside", sign.frame)
    return _lesson(f"What is beside the {sign.colour} sign?", _called(thing), "beside", thing.patches)


def way(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """In which of eight directions an arrow points."""
    arrow = _one(rng, scene.of("arrow"))
    if arrow is None:
        return None
    return _lesson(f"Which way does the {arrow.colour} arrow point?", WAYS[heading(arrow)], "way", arrow.head)


def reach(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The colour of what an arrow leads to."""
    arrow = _one(rng, scene.of("arrow"))
    if arrow is None:
        return None
    start, end = scene.things[int(arrow.source or 0)], scene.things[int(arrow.target or 0)]
    text = f"What colour is the end of the arrow from {diagram.called(start)}?"
    return _lesson(text, str(end.colour), "reach", diagram.shown(end))


def height(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The colour of the tallest or lowest bar, and which of two bars is taller."""
    bars = sorted(scene.of("bar"), key=lambda bar: bar.height)
    if not bars:
        return None
    if rng.random() < 0.5:
        which, bar = (("tallest", bars[-1]), ("lowest", bars[0]))[int(rng.integers(2))]
        return _lesson(f"What colour is the {which} bar?", str(bar.colour), "height", bar.top)
    one, other = (bars[i] for i in rng.permutation(len(bars))[:2])
    taller = max(one, other, key=lambda bar: bar.height)
    text = f"Which bar is taller, the {one.colour} or the {other.colour} one?"
    return _lesson(text, str(taller.colour), "height", one.top, other.top)


def half(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """In which half of the image a thing is; nothing that reaches over the middle is asked for."""
    thing = _one(rng, [t for t in scene.of("shape", "photograph", "digit") if named(scene, t)])
    if thing is None:
        return None
    name, middle = named(scene, thing), GRID // 2
    if rng.random() < 0.5 and (thing.column + thing.width <= middle or thing.column >= middle):
        answer = "left" if thing.column < middle else "right"
        return _lesson(f"Is the {name} in the left or right half?", answer, "half", thing.patches)
    if thing.row + thing.height <= middle or thing.row >= middle:
        answer = "top" if thing.row < middle else "bottom"
        return _lesson(f"Is the {name} in the top or bottom half?", answer, "half", thing.patches)
    return None


# What the tasks ask about scenes of objects is asked as a lesson about every layout that has shapes.
_LESSONS: tuple[tuple[Ask, tuple[str, ...], int], ...] = (
    (place, ("objects", "signs", "page", "diagram"), 2),
    (character, ("signs", "page", "diagram", "chart"), 4),
    (spell, ("signs", "page", "diagram", "chart"), 4),
    (length, ("signs", "page", "diagram"), 1),
    (tint, ("signs", "page", "diagram", "chart"), 2),
    (shape, ("objects", "signs", "page", "diagram"), 2),
    (beside, ("signs",), 3),
    (way, ("diagram",), 2),
    (reach, ("diagram",), 3),
    (height, ("chart",), 4),
    (half, ("objects", "signs"), 2),
    (perception.colour, ("objects", "signs", "diagram"), 2),
    (perception.count, ("objects", "signs"), 2),
    (perception.relation, ("objects", "signs"), 1),
    (presence.single, ("objects", "signs", "diagram"), 1),
)


def lessons(scene: Scene, rng: np.random.Generator, tries: int = 30) -> list[Question]:
    """Different lessons about one scene, in random order."""
    kinds = [(ask, share) for ask, layouts, share in _LESSONS if scene.layout in layouts]
    return distinct(kinds, scene, rng, tries)
