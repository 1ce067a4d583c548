"""Where things stand in diagrams (boxes joined by arrows) and in charts (bars with a text below each)."""

import math

from grip_vlm.benchmarks.spread.board import Board, FullError
from grip_vlm.benchmarks.spread.colours import VIVID
from grip_vlm.benchmarks.spread.texts import draw_number, draw_word
from grip_vlm.benchmarks.spread.thing import GRID, PATCH, SHAPES, Line, Thing, text_size

CLEAR = 5.0  # pixels between an arrow and the box of a thing at either end
SLOT = 4  # patches from one bar to the next
ROWS, COLUMNS = 4, 2  # the raster of a diagram: one box or shape to a cell


def diagram(board: Board) -> None:
    """Five to seven boxes and shapes, joined by arrows to one chain of three or four and, if there are more, a second.

    No thing has two arrows that leave it, or two that lead to it. An arrow has the colour of what it leaves, which no
    other thing has.
    """
    rng = board.rng
    count = int(rng.integers(5, 8))
    cells = [divmod(int(i), COLUMNS) for i in rng.permutation(ROWS * COLUMNS)[:count]]
    colours, shapes = board.some(VIVID, count), board.some(SHAPES, count)
    nodes = [_node(board, cell, colours[i], shapes[i]) for i, cell in enumerate(cells)]
    texts = [thing.name for thing in board.things if thing.part == "text"]
    if len(set(texts)) < len(texts) or len(texts) < 3:
        raise FullError
    end = int(rng.integers(2, 4))  # of the first chain
    lines = {i: _between(board.things[nodes[i]], board.things[nodes[i + 1]]) for i in range(count - 1) if i != end}
    _check_clear(list(lines.values()), board.things)
    for i, line in lines.items():
        board.arrow(nodes[i], nodes[i + 1], colours[i], line)


def _node(board: Board, cell: tuple[int, int], colour: str, shape: str) -> int:
    """A framed text, or one time in five a shape, somewhere in its cell of the raster."""
    rng, height, width = board.rng, GRID // ROWS, GRID // COLUMNS
    row, column = cell[0] * height, cell[1] * width
    if rng.random() < 0.2:
        at = row + int(rng.integers(1, height - 2)), column + int(rng.integers(1, width - 3))
        placed = board.place("shape", shape, colour, (2, 2), at)
    else:
        text = draw_word(rng, board.split, 3, 6) if rng.random() < 0.6 else draw_number(rng, 2, 4)
        high, wide = text_size(text, framed=True)
        at = row + int(rng.integers(0, height - high + 1)), column + int(rng.integers(0, width - wide))
        placed = board.text(text, colour, at, framed=True)
    if placed is None:
        raise FullError
    return placed


def _between(source: Thing, target: Thing) -> Line:
    """The arrow from one thing to another: on the line between their centres, from border to border."""
    (x0, y0), (x1, y1) = source.centre, target.centre
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    leave, reach = (
        min(_half(t.width) / max(abs(ux), 1e-6), _half(t.height) / max(abs(uy), 1e-6)) for t in (source, target)
    )
    leave, reach = leave + CLEAR, reach + CLEAR
    if length - leave - reach < 2.5 * PATCH:
        raise FullError
    return x0 + leave * ux, y0 + leave * uy, x1 - reach * ux, y1 - reach * uy


def _check_clear(lines: list[Line], things: list[Thing]) -> None:
    """Raise FullError where two arrows cross or one crosses a thing; cheap, so that few tries come to be drawn."""
    stood = {patch for thing in things for patch in thing.patches}
    for at, (x0, y0, x1, y1) in enumerate(lines):
        steps = int(math.hypot(x1 - x0, y1 - y0) / 3) + 1
        for i in range(steps + 1):
            x, y = x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps
            if int(y) // PATCH * GRID + int(x) // PATCH in stood:
                raise FullError
        if any(_cross(lines[at], other) for other in lines[:at]):
            raise FullError


def _cross(one: Line, other: Line) -> bool:
    """Whether two segments cross."""

    def side(line: Line, x: float, y: float) -> bool:
        return (line[2] - line[0]) * (y - line[1]) > (line[3] - line[1]) * (x - line[0])

    return side(one, *other[:2]) != side(one, *other[2:]) and side(other, *one[:2]) != side(other, *one[2:])


def _half(patches: int) -> float:
    return patches * PATCH / 2


def chart(board: Board) -> None:
    """Three to six bars on one base line, each with a text of two or three characters below it.

    No two bars have the same colour, text or height; heights differ by a patch at least.
    """
    rng = board.rng
    count = int(rng.integers(3, 7))
    base = int(rng.integers(16, GRID - 2))  # the row of the texts
    left = int(rng.integers(0, GRID - SLOT * count + 1))
    words = rng.random() < 0.5
    heights = (1 + rng.permutation(base - 1)[:count]).tolist()
    if len(set(heights)) < count:
        raise FullError
    for i, colour in enumerate(board.some(VIVID, count)):
        column = left + SLOT * i
        text = draw_word(rng, board.split, 3, 3) if words else draw_number(rng, 2, 3)
        if any(text == thing.name for thing in board.things):
            raise FullError
        bar = board.stand("bar", colour, base - heights[i], column, heights[i])
        label = board.stand_text(text, base, column)
        board.belong(bar, label)
