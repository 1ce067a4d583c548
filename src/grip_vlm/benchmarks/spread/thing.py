"""A thing in a scene, and which patches of the image it stands on.

The image has 192 x 192 pixels in 24 x 24 patches of 8. Patches are numbered in raster order, 0 to 575. Nothing shares a
patch with anything else.
"""

from dataclasses import dataclass

SIZE = 192  # pixels
PATCH = 8  # pixels
GRID = SIZE // PATCH
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "ring", "moon")
Line = tuple[float, float, float, float]
Patches = tuple[int, ...]


def block(row: int, column: int, height: int, width: int) -> Patches:
    """The patches of a rectangle, row by row."""
    return tuple(r * GRID + c for r in range(row, row + height) for c in range(column, column + width))


@dataclass(frozen=True)
class Thing:
    """One thing. Places and sizes are in patches; the box includes the frame around a text."""

    part: str
    """shape, photograph, digit (one, by hand), text, bar or arrow"""
    name: str
    """what it shows: the kind of a shape or photograph, the digit, the text in lower case"""
    colour: str | None
    """of a shape, bar or arrow; of the frame around a text, or of the ink of a text without one; None for plain ones"""
    row: int
    column: int
    height: int
    width: int
    seed: int = 0
    """what its details are drawn from: font, jitter, which instance"""
    framed: bool = False
    """a text inside a coloured frame, one patch wide on each side"""
    plate: bool = False
    """a text on a piece of paper of its own"""
    hand: bool = False
    """a number in handwritten digits, two patches wide each; printed characters are one patch wide"""
    partner: int | None = None
    """the thing it belongs to: a text and the thing beside it, a bar and the text below it"""
    source: int | None = None
    """the thing that an arrow leaves"""
    target: int | None = None
    """the thing that an arrow leads to"""
    line: Line = (0.0, 0.0, 0.0, 0.0)
    """of an arrow: start and tip as x, y, x, y in pixels"""
    drawn: Patches = ()
    """of a shape: those patches of its box that it reaches"""
    shaft: Patches = ()
    head: Patches = ()

    @property
    def centre(self) -> tuple[float, float]:
        """x and y in pixels."""
        return (self.column + self.width / 2) * PATCH, (self.row + self.height / 2) * PATCH

    @property
    def patches(self) -> Patches:
        """Every patch it is drawn on."""
        if self.part == "arrow":
            return tuple(sorted((*self.shaft, *self.head)))
        return self.drawn or block(self.row, self.column, self.height, self.width)

    @property
    def characters(self) -> tuple[Patches, ...]:
        """Of a text or digit: the patches of each character, from left to right."""
        margin, width = int(self.framed), 2 if self.hand or self.part == "digit" else 1
        row, column = self.row + margin, self.column + margin
        return tuple(block(row, column + width * i, 2, width) for i in range(len(self.name)))

    @property
    def frame(self) -> Patches:
        """The patches of the frame around a text."""
        inside = {patch for patches in self.characters for patch in patches}
        return tuple(patch for patch in self.patches if patch not in inside) if self.framed else ()

    @property
    def top(self) -> Patches:
        """The patches of the upper end of a bar."""
        return block(self.row, self.column, 1, self.width)


def text_size(text: str, framed: bool, hand: bool = False) -> tuple[int, int]:
    """Height and width, in patches, of a text."""
    return 2 + 2 * framed, len(text) * (2 if hand else 1) + 2 * framed
