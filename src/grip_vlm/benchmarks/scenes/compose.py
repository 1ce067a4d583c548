"""A scene: items on the patch grid of a 112-pixel image. All items are known, so questions have exact answers.

Four layouts: `objects` (shapes), `number` (one long number among shapes), `signs` (framed numbers, each beside its own
shape) and `diagram` (shapes with arrows to letter labels). A scene of any layout may be crowded. It then has more
items, closer together, and smaller shapes than the training scenes. Digits and letters keep their size, because the
shipped VLM cannot read smaller ones.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from grip_vlm.benchmarks.scenes.glyphs import (
    COLOURS,
    FRAMES,
    LETTERS,
    SHAPES,
    Point,
    draw_arrow,
    draw_label,
    draw_number,
    draw_shape,
)
from grip_vlm.benchmarks.scenes.pixels import SPLITS, background

SIZE = 112  # pixels
PATCH = 8  # pixels; items are aligned to this grid up to one pixel of jitter
GRID = SIZE // PATCH
LAYOUTS = ("objects", "number", "signs", "diagram")
CROWDED_SCALE = 0.75  # size of shapes in a crowded scene relative to other scenes


@dataclass
class Item:
    """One thing in a scene. Row, column and width are in patches."""

    kind: str
    """`shape`, `number` or `label`."""
    name: str
    """The shape's name, the number's digits or the label's letter."""
    colour: str | None
    """Colour of the shape or of the number's frame; None without a frame and for labels."""
    row: int
    column: int
    width: int
    """Every item is two patches high."""
    partner: int | None = None
    """Index of the item it belongs to: a number and the shape beside it, or a shape and the label it points to."""

    @property
    def centre(self) -> Point:
        """(x, y) in pixels."""
        return (self.column + self.width / 2) * PATCH, (self.row + 1) * PATCH

    @property
    def patches(self) -> list[int]:
        """Indices of the patches it covers, in row-major order, without the frame of a number."""
        return [row * GRID + self.column + i for row in (self.row, self.row + 1) for i in range(self.width)]


@dataclass
class Scene:
    """An image and the items in it."""

    image: Image.Image
    items: list[Item]
    layout: str

    def of(self, kind: str) -> list[Item]:
        return [item for item in self.items if item.kind == kind]

    def partner(self, item: Item) -> Item | None:
        return None if item.partner is None else self.items[item.partner]

    def arrow(self, item: Item) -> tuple[Point, Point] | None:
        """Start and tip, in pixels, of the arrow that starts at this item; None if there is none."""
        target = self.partner(item)
        return _arrow_ends(item, target) if item.kind == "shape" and target and target.kind == "label" else None


@dataclass
class _Board:
    """A scene under composition. Items are `distance` patches apart; side-by-side partners are one patch apart."""

    rng: np.random.Generator
    crowded: bool
    distance: int
    items: list[Item] = field(default_factory=list)

    def place(self, kind: str, name: str, colour: str | None, width: int, near: Item | None = None) -> Item | None:
        """Put an item on a free spot, beside `near` if it is given. Returns None if there is no free spot."""
        for row, column in self._spots(width, near):
            if not (1 <= row <= GRID - 3 and 1 <= column <= GRID - 1 - width):
                continue
            if any(other is not near and _apart(other, row, column, width) < self.distance for other in self.items):
                continue
            item = Item(kind, name, colour, row, column, width)
            self.items.append(item)
            return item
        return None

    def _spots(self, width: int, near: Item | None) -> list[tuple[int, int]]:
        if near is None:
            return [(int(r), int(c)) for r, c in self.rng.integers(0, GRID, (60, 2))]
        sides = [(near.row, near.column - width - 1), (near.row, near.column + near.width + 1)]
        return [sides[i] for i in self.rng.permutation(2)]

    def sample_count(self, low: int, high: int, more: int) -> int:
        """A random count from `low` to `high`; a crowded scene adds `more`."""
        return int(self.rng.integers(low, high + 1)) + (more if self.crowded else 0)

    def sample_names(self, names: tuple[str, ...] | list[str], count: int) -> list[str]:
        return [names[i] for i in self.rng.permutation(len(names))[:count]]


def _apart(item: Item, row: int, column: int, width: int) -> int:
    """Free patches between an item and a spot, along the axis that separates them more."""
    return max(abs(item.row - row) - 2, item.column - column - width, column - item.column - item.width)


def _place_objects(board: _Board) -> None:
    """Three to six shapes (crowded: up to four more, as space permits).

    Colours and kinds repeat, which makes questions of counting and binding possible.
    """
    rng = board.rng
    colours = board.sample_names(list(COLOURS), int(rng.integers(2, 5)))
    shapes = board.sample_names(SHAPES, int(rng.integers(2, 5)))
    for _ in range(board.sample_count(3, 6, more=4)):
        board.place("shape", shapes[rng.integers(len(shapes))], colours[rng.integers(len(colours))], 2)


def _number(rng: np.random.Generator, length: int) -> str:
    return str(rng.integers(1, 10)) + "".join(str(d) for d in rng.integers(0, 10, length - 1))


def _place_number(board: _Board) -> None:
    """One number of two to four digits, framed or not, and one to three shapes (crowded: four more)."""
    rng = board.rng
    length = int(rng.integers(2, 5))
    frame = FRAMES[rng.integers(len(FRAMES))] if rng.random() < 0.5 else None
    board.place("number", _number(rng, length), frame, 2 * length)
    for _ in range(board.sample_count(1, 3, more=4)):
        board.place("shape", SHAPES[rng.integers(len(SHAPES))], list(COLOURS)[rng.integers(len(COLOURS))], 2)


def _place_signs(board: _Board) -> None:
    """Two or three numbers of one or two digits (crowded: up to two more, as space permits).

    Frames differ in colour; the shapes beside them differ in kind.
    """
    rng = board.rng
    count = board.sample_count(2, 3, more=2)
    frames = board.sample_names(FRAMES, count)
    shapes = board.sample_names(SHAPES, count)
    used: set[str] = set()
    for frame, shape in zip(frames, shapes, strict=True):
        length = int(rng.integers(1, 3))
        name = _number(rng, length)
        if name in used:
            continue
        used.add(name)
        number = board.place("number", name, frame, 2 * length)
        if number is None:
            continue
        index = len(board.items) - 1
        colour = list(COLOURS)[rng.integers(len(COLOURS))]
        beside = board.place("shape", shape, colour, 2, near=number)
        if beside is not None:
            number.partner, beside.partner = index + 1, index


def _place_diagram(board: _Board) -> None:
    """Three or four shapes (crowded: one more) of different kinds and colours, each with an arrow to its own label."""
    count = board.sample_count(3, 4, more=1)
    shapes, colours = board.sample_names(SHAPES, count), board.sample_names(list(COLOURS), count)
    letters = board.sample_names(list(LETTERS), count)
    for shape, colour, letter in zip(shapes, colours, letters, strict=True):
        source = board.place("shape", shape, colour, 2)
        target = board.place("label", letter, None, 2)
        if source is None or target is None or math.dist(source.centre, target.centre) < 4 * PATCH:
            raise _NoSpaceError  # no space for the two items or for an arrow between them
        source.partner, target.partner = len(board.items) - 1, len(board.items) - 2
    arrows = [_arrow_ends(item, board.items[item.partner]) for item in board.items if item.partner is not None]
    for i, (start, end) in enumerate(arrows):
        for other in board.items:
            is_end = other in (board.items[i], board.items[board.items[i].partner or 0])
            if not is_end and _distance_to_segment(other.centre, start, end) < 2 * PATCH:
                raise _NoSpaceError  # an arrow would cross a third item


class _NoSpaceError(Exception):
    """The sampled items do not fit. Composition starts again with the next random numbers."""


def _distance_to_segment(point: Point, start: Point, end: Point) -> float:
    """Distance in pixels from a point to a line segment."""
    along = np.subtract(end, start)
    t = float(np.clip(np.dot(np.subtract(point, start), along) / np.dot(along, along), 0, 1))
    return math.dist(point, (start[0] + t * along[0], start[1] + t * along[1]))


def _arrow_ends(source: Item, target: Item) -> tuple[Point, Point]:
    """An arrow starts 10 pixels from the centre of its shape and ends 12 pixels before the centre of its label."""
    (x0, y0), (x1, y1) = source.centre, target.centre
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    return (x0 + 10 * ux, y0 + 10 * uy), (x1 - 12 * ux, y1 - 12 * uy)


_PLACE = {"objects": _place_objects, "number": _place_number, "signs": _place_signs, "diagram": _place_diagram}


def compose(split: str, index: int, layout: str | None = None, seed: int = 0, crowded: bool = False) -> Scene:
    """Scene number `index` of a split; the same arguments always give the same pixels.

    Args:
        split: train, dev or test. It selects which handwritten digits may appear.
        layout: one of LAYOUTS; None picks one at random.
        crowded: more items than usual, and shapes at three quarters of their size.

    Raises:
        ValueError: the split or the layout is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; choose from {', '.join(LAYOUTS)}")
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    chosen = layout or LAYOUTS[rng.integers(len(LAYOUTS))]
    while True:
        # The shape next to a sign must remain the only item near it, even in a crowded scene.
        board = _Board(rng, crowded, distance=1 if crowded and chosen != "signs" else 2)
        try:
            _PLACE[chosen](board)
        except _NoSpaceError:
            continue
        scene = Scene(background(rng, SIZE), board.items, chosen)
        _paint(scene, rng, split, CROWDED_SCALE if crowded else 1.0)
        return scene


def _paint(scene: Scene, rng: np.random.Generator, split: str, size: float) -> None:
    image = scene.image
    draw = ImageDraw.Draw(image)
    for item in scene.items:
        ends = scene.arrow(item)
        if ends is not None:
            draw_arrow(draw, str(item.colour), *ends)
    for item in scene.items:
        left, top = item.column * PATCH, item.row * PATCH
        dx, dy = (int(value) for value in rng.integers(-1, 2, 2))
        if item.kind == "number":
            draw_number(image, rng, split, item.name, item.colour, left + dx, top + dy)
        elif item.kind == "label":
            draw_label(draw, item.name, left + dx, top + dy)
        elif item.colour is not None:
            centre = item.centre[0] + dx, item.centre[1] + dy
            draw_shape(draw, item.name, item.colour, centre, size * rng.uniform(13.5, 16))
