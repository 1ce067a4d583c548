"""Words for things: singular, plural, and a phrase that means one thing of a scene and no other."""

import numpy as np

from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.splits import check_split
from grip_vlm.benchmarks.spread.thing import SHAPES, Thing

HELD_OUT = 2  # of the phrasings of each kind of question: dev uses all but the last, train none of these two


def phrase(rng: np.random.Generator, split: str, phrasings: tuple[str, ...], **words: str) -> str:
    """One of the phrasings of a kind of question, with names put in; the last two of them are not for training."""
    usable = len(phrasings) - HELD_OUT + check_split(split)
    text = phrasings[rng.integers(usable)].format(**words)
    return text[0].upper() + text[1:]


def singular(kind: str, colour: str | None = None) -> str:
    """As in `red star`, `pair of trousers`, `handwritten 7`, `blue shape`."""
    noun = {"trousers": "pair of trousers", "shape": "shape"}.get(kind, kind)
    noun = f"handwritten {noun}" if kind.isdigit() else noun
    return f"{colour} {noun}" if colour else noun


def plural(kind: str, colour: str | None = None) -> str:
    """As in `red stars`, `pairs of trousers`, `handwritten 7s`, `blue shapes`."""
    if kind == "trousers":
        return singular(kind, colour).replace("pair", "pairs")
    return singular(kind, colour) + ("es" if kind.endswith("ss") else "s")


def with_article(noun: str) -> str:
    """With `a` or `an` before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def matching(scene: Scene, kind: str | None, colour: str | None) -> list[Thing]:
    """The shapes, photographs and digits of this kind and colour; None or `shape` stand for any shape."""
    names = SHAPES if kind in (None, "shape") else (kind,)
    return [
        thing
        for thing in scene.of("shape", "photograph", "digit")
        if thing.name in names and colour in (None, thing.colour)
    ]


def named(scene: Scene, thing: Thing) -> str | None:
    """What means this shape, photograph or digit alone: its kind, or colour and kind; None where others share both."""
    if len(matching(scene, thing.name, None)) == 1:
        return singular(thing.name)
    if thing.colour and len(matching(scene, thing.name, thing.colour)) == 1:
        return singular(thing.name, thing.colour)
    return None


def listed(names: list[str]) -> str:
    """A list as an answer gives it: in alphabetical order, with commas."""
    return ", ".join(sorted(names))
