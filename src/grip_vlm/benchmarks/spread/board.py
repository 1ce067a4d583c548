"""The board on which a layout places its things, a free patch around each of them."""

from dataclasses import replace

import numpy as np

from grip_vlm.benchmarks.spread.draw import arrow_patches, shape_patches
from grip_vlm.benchmarks.spread.thing import GRID, PATCH, Line, Thing, text_size


class FullError(Exception):
    """What a layout drew does not fit; composing starts again with the next random numbers."""


class Board:
    """What has been placed, and which patches are still free.

    A thing is placed at a random free spot, at a given one, or beside another thing.
    """

    def __init__(self, rng: np.random.Generator, split: str) -> None:
        self.rng = rng
        self.split = split
        self.things: list[Thing] = []
        self.taken = np.zeros((GRID + 2, GRID + 2), dtype=bool)  # with a rim; a thing and the patches around it

    def place(
        self,
        part: str,
        name: str,
        colour: str | None,
        size: tuple[int, int],
        at: tuple[int, int] | None = None,
        tries: int = 60,
        **more: bool | int | None,
    ) -> int | None:
        """Place a thing of `size` (height, width) and return its index, or None where there is no room for it."""
        height, width = size
        if height > GRID or width > GRID:
            return None
        spots = [at] if at is not None else self._spots(height, width, tries)
        for row, column in spots:
            if self.free(row, column, height, width):
                self.taken[row : row + height + 2, column : column + width + 2] = True
                seed = int(self.rng.integers(2**31))
                thing = Thing(part, name, colour, row, column, height, width, seed, **more)  # type: ignore[arg-type]
                thing = replace(thing, drawn=shape_patches(thing)) if part == "shape" else thing
                self.things.append(thing)
                return len(self.things) - 1
        return None

    def _spots(self, height: int, width: int, tries: int) -> list[tuple[int, int]]:
        rows = self.rng.integers(0, GRID - height + 1, tries).tolist()
        columns = self.rng.integers(0, GRID - width + 1, tries).tolist()
        return list(zip(rows, columns, strict=True))

    def free(self, row: int, column: int, height: int, width: int) -> bool:
        """Whether a thing may stand there: inside the image, and no other thing there or directly beside it."""
        if row < 0 or column < 0 or row + height > GRID or column + width > GRID:
            return False
        return not self.taken[row + 1 : row + height + 1, column + 1 : column + width + 1].any()

    def text(
        self,
        text: str,
        colour: str | None,
        at: tuple[int, int] | None = None,
        framed: bool = False,
        plate: bool = False,
        hand: bool = False,
    ) -> int | None:
        """Place a text; colour is that of its frame or, without one, of its ink."""
        size = text_size(text, framed, hand)
        return self.place("text", text, colour, size, at, framed=framed, plate=plate, hand=hand)

    def arrow(self, source: int, target: int, colour: str, line: Line) -> int:
        """Draw an arrow between two things.

        Raises:
            FullError: it would touch another thing or leave no shaft.
        """
        shaft, head = arrow_patches(line)
        if len(shaft) < 2 or not head or self._touched((*shaft, *head)):
            raise FullError
        seed = int(self.rng.integers(2**31))
        x0, y0, x1, y1 = line
        row, column = int(min(y0, y1)) // PATCH, int(min(x0, x1)) // PATCH
        height, width = int(max(y0, y1)) // PATCH - row + 1, int(max(x0, x1)) // PATCH - column + 1
        self.things.append(
            Thing(
                "arrow", "arrow", colour, row, column, height, width, seed,
                source=source, target=target, line=line, shaft=shaft, head=head,
            )
        )  # fmt: skip
        return len(self.things) - 1

    def stand(self, part: str, colour: str, row: int, column: int, height: int) -> int:
        """Place a bar, two patches wide, without a free patch around it: what is below it belongs to it."""
        seed = int(self.rng.integers(2**31))
        self.things.append(Thing(part, part, colour, row, column, height, 2, seed))
        return len(self.things) - 1

    def stand_text(self, text: str, row: int, column: int) -> int:
        """Place a text without paper of its own, directly below a bar."""
        seed = int(self.rng.integers(2**31))
        self.things.append(Thing("text", text, None, row, column, *text_size(text, framed=False), seed))
        return len(self.things) - 1

    def belong(self, one: int, other: int) -> None:
        """Say of two things that they belong to each other."""
        self.things[one] = replace(self.things[one], partner=other)
        self.things[other] = replace(self.things[other], partner=one)

    def _touched(self, patches: tuple[int, ...]) -> bool:
        taken = set(patches)
        return any(taken.intersection(other.patches) for other in self.things)

    def one(self, options: tuple[str, ...] | list[str]) -> str:
        """One of the options, each as likely as any other."""
        return options[self.rng.integers(len(options))]

    def some(self, options: tuple[str, ...] | list[str], count: int) -> list[str]:
        """`count` different ones of the options, in random order."""
        return [options[i] for i in self.rng.permutation(len(options))[:count]]
