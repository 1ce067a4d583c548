"""What is on each patch, and what is anywhere in the image: all that a vision tower may be taught.

A label of a patch speaks of the one thing that this patch shows a part of, and of nothing that stands elsewhere. A
patch without a thing has only a ground.
"""

import math

import numpy as np
from numpy.typing import NDArray

from grip_vlm.benchmarks.spread.colours import COLOURS
from grip_vlm.benchmarks.spread.pixels import CLOTHES, GROUNDS
from grip_vlm.benchmarks.spread.thing import GRID, SHAPES, Patches, Thing

PARTS = ("shape", "photograph", "character", "digit", "frame", "shaft", "head", "bar", "bar top")
CHARACTERS = (*"abcdefghijklmnopqrstuvwxyz", *"0123456789")
HEADINGS = ("east", "south east", "south", "south west", "west", "north west", "north", "north east")
# An arrow's shaft shows along which axis it lies, not to which of its two ends it leads.
AXES = ("east-west", "north west-south east", "north-south", "north east-south west")
# The fields of a label in order, and the names of their classes 1, 2, ...; class 0 is nothing of the kind.
VOCABULARIES = {
    "part": PARTS,
    "kind": (*SHAPES, *CLOTHES),
    "colour": COLOURS,
    "character": CHARACTERS,
    "direction": (*HEADINGS, *AXES),
    "ground": GROUNDS,
}
PRESENT = tuple(f"{field}: {name}" for field, names in VOCABULARIES.items() for name in names)


def patch_labels(things: tuple[Thing, ...], ground: str) -> NDArray[np.uint8]:
    """The classes of every patch in the fields of VOCABULARIES, (24, 24, 6).

    The character of a printed or handwritten digit is that digit; a patch with a thing has no ground.
    """
    labels = np.zeros((GRID * GRID, len(VOCABULARIES)), dtype=np.uint8)
    labels[:, -1] = _class("ground", ground)
    for thing in things:
        for patches, facts in says(thing):
            labels[list(patches)] = [_class(field, facts[field]) if field in facts else 0 for field in VOCABULARIES]
    return labels.reshape(GRID, GRID, -1)


def _class(field: str, name: str) -> int:
    return 1 + VOCABULARIES[field].index(name)


def says(thing: Thing) -> list[tuple[Patches, dict[str, str]]]:
    """What the patches of one thing show, by field; each of its patches comes up once."""
    colour = {} if thing.colour is None else {"colour": thing.colour}
    if thing.part in ("shape", "photograph"):
        return [(thing.patches, {"part": thing.part, "kind": thing.name, **colour})]
    if thing.part == "bar":
        return [(thing.top, {"part": "bar top", **colour}), (thing.patches[2:], {"part": "bar", **colour})]
    if thing.part == "arrow":
        turn = heading(thing)
        head, axis = HEADINGS[turn], AXES[turn % 4]
        shaft = (thing.shaft, {"part": "shaft", **colour, "direction": axis})
        return [shaft, (thing.head, {"part": "head", **colour, "direction": head})]
    part = "digit" if thing.hand or thing.part == "digit" else "character"
    ink = {} if thing.framed else colour
    written = [
        (patches, {"part": part, **ink, "character": character})
        for character, patches in zip(thing.name, thing.characters, strict=True)
    ]
    return [*written, (thing.frame, {"part": "frame", **colour})] if thing.framed else written


def heading(arrow: Thing) -> int:
    """Which of HEADINGS an arrow has, by eighths of a turn."""
    x0, y0, x1, y1 = arrow.line
    return round(math.atan2(y1 - y0, x1 - x0) / (math.pi / 4)) % 8


def present(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of PRESENT is on at least one patch of an image with these labels, (len(PRESENT),)."""
    flat = labels.reshape(-1, labels.shape[-1])  # (576, 6)
    seen = [
        np.bincount(flat[:, at], minlength=1 + len(names))[1:] > 0 for at, names in enumerate(VOCABULARIES.values())
    ]
    return np.concatenate(seen)
