"""A scene: things on the patch grid of a 192-pixel image, known exactly; composed from (seed, split, index)."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grip_vlm.benchmarks.spread.board import Board, FullError
from grip_vlm.benchmarks.spread.diagrams import chart, diagram
from grip_vlm.benchmarks.spread.draw import draw
from grip_vlm.benchmarks.spread.labels import patch_labels, present
from grip_vlm.benchmarks.spread.layouts import objects, page, signs
from grip_vlm.benchmarks.spread.pixels import GROUNDS, background
from grip_vlm.benchmarks.spread.splits import SPLITS, check_split
from grip_vlm.benchmarks.spread.thing import SIZE, Thing

LAYOUTS = ("objects", "signs", "page", "diagram", "chart")


@dataclass(frozen=True)
class Scene:
    """What is in an image. The image itself and its labels are made when they are first asked for."""

    split: str
    layout: str
    ground: str
    """what is behind everything, one of GROUNDS"""
    things: tuple[Thing, ...]
    seed: int
    """what the background is drawn from"""

    @cached_property
    def image(self) -> Image.Image:
        """192 x 192 pixels of RGB."""
        return Image.fromarray(self.pixels)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The image as (192, 192, 3), drawn anew."""
        canvas = background(np.random.default_rng(self.seed), self.split, self.ground, SIZE)
        for thing in self.things:
            draw(canvas, thing, self.split)
        return canvas

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """What is on each patch, (24, 24, len(VOCABULARIES)); see `labels.py`."""
        return patch_labels(self.things, self.ground)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """What is anywhere in the image, (len(PRESENT),)."""
        return present(self.labels)

    def of(self, *parts: str) -> list[Thing]:
        """The things of these parts, in the order in which they were placed."""
        return [thing for thing in self.things if thing.part in parts]

    def partner(self, thing: Thing) -> Thing | None:
        """The thing that it belongs to, if any."""
        return None if thing.partner is None else self.things[thing.partner]

    def without(self, gone: Thing) -> "Scene":
        """The same scene with nothing where this thing was, for checks. Indices of other things may shift."""
        return replace(self, things=tuple(thing for thing in self.things if thing is not gone))


def compose(split: str, index: int, seed: int = 0, layout: str | None = None) -> Scene:
    """Scene number `index` of a split; the same arguments always give the same pixels.

    Args:
        split: train, dev or test; decides which digits, photographs, words and fonts may appear.
        layout: one of LAYOUTS, or None to draw one.

    Raises:
        ValueError: an unknown split or layout, or a negative index or seed.
    """
    at = check_split(split)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose from {', '.join(LAYOUTS)}")
    if index < 0 or seed < 0:
        raise ValueError(f"index {index} and seed {seed} must not be negative")
    rng = np.random.default_rng([seed, at, index])
    chosen = layout or LAYOUTS[rng.integers(len(LAYOUTS))]
    while True:
        board, ground = Board(rng, split), _ground(rng, chosen)
        try:
            _place(board, chosen, ground)
        except FullError:
            continue
        return Scene(split, chosen, ground, tuple(board.things), int(rng.integers(2**31)))


def _ground(rng: np.random.Generator, layout: str) -> str:
    """Charts and half of the pages of text are on paper; everything else has anything behind it."""
    if layout == "chart" or (layout == "page" and rng.random() < 0.5):
        return "page"
    return GROUNDS[rng.integers(len(GROUNDS) - (layout == "page"))]


def _place(board: Board, layout: str, ground: str) -> None:
    if layout == "objects":
        objects(board)
    elif layout == "signs":
        signs(board)
    elif layout == "page":
        page(board, paper=ground == "page")
    elif layout == "diagram":
        diagram(board)
    else:
        chart(board)


__all__ = ["LAYOUTS", "SPLITS", "Scene", "compose"]
