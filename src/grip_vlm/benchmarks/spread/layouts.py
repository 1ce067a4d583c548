"""Where things stand in scenes of objects, of signs and of lines of text."""

from grip_vlm.benchmarks.spread.board import Board, FullError
from grip_vlm.benchmarks.spread.colours import COLOURS, INKS, VIVID
from grip_vlm.benchmarks.spread.pixels import CLOTHES
from grip_vlm.benchmarks.spread.texts import draw_number, draw_word
from grip_vlm.benchmarks.spread.thing import GRID, SHAPES, text_size

KINDS = SHAPES + CLOTHES


def place_kind(board: Board, kind: str, colour: str, at: tuple[int, int] | None = None) -> int | None:
    """Place a shape of this colour, a photograph or a digit, whichever `kind` names; `at` is its upper left patch."""
    if kind in CLOTHES:
        return board.place("photograph", kind, None, (3, 3), at)
    if kind.isdigit():
        return board.place("digit", kind, None, (2, 2), at)
    side = 2 if at is not None or board.rng.random() < 0.8 else 3
    return board.place("shape", kind, colour, (side, side), at)


def objects(board: Board) -> None:
    """Up to twenty-two things, one group of them alike in kind, colour or both, so that there is much to count."""
    rng = board.rng
    shapes, clothes = board.some(SHAPES, int(rng.integers(2, 5))), board.some(CLOTHES, int(rng.integers(0, 3)))
    digits = board.some([str(d) for d in range(10)], int(rng.integers(0, 3)))
    colours = board.some(COLOURS, int(rng.integers(3, 6)))
    kinds = [*shapes, *clothes, *digits]
    alike, colour = board.one(kinds), board.one(colours)
    way = ("kind", "colour", "both")[rng.integers(3)]
    for _ in range(int(rng.integers(1, 10))):
        kind = board.one(shapes) if way == "colour" else alike
        place_kind(board, kind, board.one(colours) if way == "kind" else colour)
    for _ in range(int(rng.integers(3, 13))):
        place_kind(board, board.one(kinds), board.one(colours))


def signs(board: Board) -> None:
    """Three or four signs in frames of different colours, one below the other, each with a thing of its own beside it.

    The thing beside is one free patch away from its sign; everything else is three away at least.
    """
    rng = board.rng
    count = int(rng.integers(3, 5))
    band = GRID // count
    frames, kinds = board.some(VIVID, count), board.some(KINDS, count)
    tints = board.some(COLOURS, count)
    written: set[str] = set()
    for i in range(count):
        text, hand = _sign_text(board)
        if text in written:
            raise FullError
        written.add(text)
        side = 3 if kinds[i] in CLOTHES else 2
        height, width = text_size(text, framed=True, hand=hand)
        row, start = band * i + int(rng.integers(0, band - height)), int(rng.integers(0, GRID - width - side))
        left = rng.random() < 0.5
        sign = board.text(text, frames[i], (row, start + (side + 1) * left), framed=True, hand=hand)
        thing = place_kind(board, kinds[i], tints[i], (row + 1, start if left else start + width + 1))
        if sign is None or thing is None:
            raise FullError
        board.belong(sign, thing)
        end = start + width + 1 + side
        _fill(board, row, [(0, start - 3), (end + 3, GRID)], kinds)


def _fill(board: Board, row: int, gaps: list[tuple[int, int]], kinds: list[str]) -> None:
    """Now and then a shape in a gap that is far enough from sign and thing; of a kind that is not beside any sign."""
    others = [kind for kind in SHAPES if kind not in kinds]
    for low, high in gaps:
        if high - low >= 2 and board.rng.random() < 0.5:
            place_kind(board, board.one(others), board.one(COLOURS), (row + 1, int(board.rng.integers(low, high - 1))))


def _sign_text(board: Board) -> tuple[str, bool]:
    """A word or a number, and whether it is written by hand."""
    if board.rng.random() < 0.55:
        return draw_word(board.rng, board.split), False
    hand = board.rng.random() < 0.5
    return draw_number(board.rng, 2, 5 if hand else 6), hand


def page(board: Board, paper: bool) -> None:
    """One to six lines of one or two texts each, printed or by hand, some of them in ink of a colour.

    Args:
        paper: whether the whole image is a page; otherwise each text is on a piece of paper.
    """
    rng = board.rng
    count = int(rng.integers(1, 7))
    pitch = 3 if count > 5 else int(rng.integers(3, GRID // count + 1)) if count < 4 else int(rng.integers(3, 5))
    row = int(rng.integers(0, GRID - pitch * (count - 1) - 1))
    inks: list[str | None] = [*board.some(INKS, len(INKS))]
    kind = rng.choice([0, 1, 2], p=[0.5, 0.25, 0.25])  # words and numbers; one number among words; one word
    odd = int(rng.integers(count))
    hands = rng.random() < 0.5
    for line in range(count):
        numeric = rng.random() < 0.4 if kind == 0 else (line == odd) == (kind == 1)
        _line(board, row + pitch * line, numeric, alone=kind != 0 and line == odd, paper=paper, hand=hands, inks=inks)
    for _ in range(int(rng.integers(0, 3))):
        place_kind(board, board.one(KINDS), board.one(COLOURS))


def _line(board: Board, row: int, numeric: bool, alone: bool, paper: bool, hand: bool, inks: list[str | None]) -> None:
    """One line of text; a line of two texts has words before numbers as often as the other way round."""
    rng, column = board.rng, int(board.rng.integers(0, 4))
    for _ in range(1 if alone or rng.random() < 0.35 else 2):
        by_hand = numeric and hand
        text = draw_number(rng, 2, 4 if by_hand else 6) if numeric else draw_word(rng, board.split)
        if any(text == other.name for other in board.things):
            raise FullError
        ink = inks.pop() if paper and inks and rng.random() < 0.3 else None
        width = text_size(text, False, by_hand)[1]
        if column + width > GRID:
            break
        if board.text(text, ink, (row, column), plate=not paper, hand=by_hand) is None:
            raise FullError
        column += width + int(rng.integers(1, 4))
