"""OCRBench's stand-in: reading words of three to ten letters, numbers of two to six digits, and lines of them."""

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.thing import Thing
from grip_vlm.benchmarks.spread.wording import phrase

ODD = (
    "what is the only {what} in the picture?",
    "there is just one {what} here. What is it?",
    "which {what} is written?",
    "read the {what}.",
    "one {what} is written here: which one?",
    "find the only {what} and read it.",
    "what {what} can be read in this image?",
)
LINE = (
    "what is written on the {nth} line?",
    "read the {nth} line.",
    "what does the {nth} line say?",
    "what is on the {nth} line of text?",
    "which text stands on the {nth} line?",
    "copy the {nth} line.",
    "going down from the top, what does the {nth} line of text say?",
)
INK = (
    "what is written in {colour}?",
    "read the text in {colour}.",
    "which text is {colour}?",
    "what does the {colour} text say?",
    "what can you read in {colour} ink?",
    "one text is {colour}: what does it say?",
    "find what is printed or written in {colour} and read it.",
)
WHERE = (
    "what is the {nth} text on the {line} line?",
    "read the {nth} text of the {line} line.",
    "on the {line} line, what is written {nth}?",
    "what does the {nth} text on the {line} line say?",
    "which text comes {nth} on the {line} line?",
    "look at the {line} line: what is its {nth} text?",
    "of all that is written on the {line} line, what comes {nth}?",
)
NTH = ("first", "second", "third", "fourth", "fifth", "sixth")


def lines(scene: Scene) -> list[list[Thing]]:
    """The texts of each line, from top to bottom and from left to right."""
    rows = sorted({thing.row for thing in scene.of("text")})
    return [sorted((t for t in scene.of("text") if t.row == row), key=lambda t: t.column) for row in rows]


def odd(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The only number among words, or the only word among numbers, or the only text there is."""
    texts = scene.of("text")
    numbers = [text for text in texts if text.name.isdigit()]
    words = [text for text in texts if not text.name.isdigit()]
    candidates = [(what, those[0]) for what, those in (("number", numbers), ("word", words)) if len(those) == 1]
    candidates = [(what, text) for what, text in candidates if (what == "word") == (want % 2 == 0)]
    if not candidates:
        return None
    what, text = candidates[rng.integers(len(candidates))]
    question = phrase(rng, scene.split, ODD, what=what)
    return Question(question, text.name, "reading", "odd", text.characters)


def _above(scene: Scene, line: int) -> tuple[tuple[int, ...], ...]:
    """One unit for each line above: by them a line is known to be the second or third."""
    return tuple(sum((text.patches for text in texts), ()) for texts in lines(scene)[:line])


def line(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """All of one line among two or more. That a line is the last one is known from nothing being below it."""
    candidates = lines(scene)
    if len(candidates) < 2:
        return None
    at = int(rng.integers(len(candidates)))
    nth = "last" if at == len(candidates) - 1 and rng.random() < 0.5 else NTH[at]
    units = sum((text.characters for text in candidates[at]), ())
    answer = " ".join(text.name for text in candidates[at])
    question = phrase(rng, scene.split, LINE, nth=nth)
    return Question(question, answer, "reading", "line", units, () if nth == "last" else _above(scene, at))


def where(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The first or second text of a line that has two."""
    candidates = [at for at, texts in enumerate(lines(scene)) if len(texts) == 2]
    if not candidates:
        return None
    at, nth = candidates[rng.integers(len(candidates))], int(rng.integers(2))
    text = lines(scene)[at][nth]
    question = phrase(rng, scene.split, WHERE, nth=NTH[nth], line=NTH[at])
    before = (lines(scene)[at][0].patches,) if nth else ()
    return Question(question, text.name, "reading", "where", text.characters, (*_above(scene, at), *before))


def ink(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The only text in ink of a colour; its own patches show the colour."""
    candidates = [text for text in scene.of("text") if text.colour and not text.framed]
    if not candidates:
        return None
    text = candidates[rng.integers(len(candidates))]
    question = phrase(rng, scene.split, INK, colour=str(text.colour))
    return Question(question, text.name, "reading", "ink", text.characters)


ASKED: Asked = ((odd, "page", 4), (line, "page", 3), (where, "page", 2), (ink, "page", 2))
