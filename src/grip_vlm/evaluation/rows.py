"""Rows on disk: one JSON object per item answered once. Reading them needs neither a model nor torch."""

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from grip_vlm.files import write_bytes


@dataclass(frozen=True)
class Row:
    """One item answered once; the fields are a public contract."""

    vlm: str
    pruner: str
    checkpoint: str
    benchmark: str
    item: str
    budget: str
    tokens: int
    kept: int
    """of them per layer of the language model, rounded where layers differ"""
    prediction: str
    target: str
    score: float
    seconds: float
    """per item: vision tower, pruner and language model, of a batch divided by its size; the tower runs once for all
    pruners, and its time counts for each"""
    seed: int
    commit: str
    torch: str
    transformers: str
    device: str
    entering: int | None = None
    """visual tokens that enter the language model; rows from before this field was there do not say"""
    group: str = ""
    """what the benchmark's summary tells items apart by; empty in files of before it was there"""
    image_id: str = ""
    """the same for items of one image, which are resampled together; empty where every item has an image of its own"""

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a row the same computation."""
        return (self.vlm, self.pruner, self.checkpoint, self.benchmark, self.item, self.budget, str(self.seed))


FIXED = {"full": "1.0", "blind": "0"}  # pruners whose rows do not depend on the budget, and what they are filed under


START = b'{"vlm": '  # what every row begins with


def read(path: Path) -> tuple[list[Row], int]:
    """The rows already in `path` (compressed if it ends in .gz), and the bytes they take: a last line that a kill left
    half-written is not among them.

    Raises:
        ValueError: a line before the last is not a row, or the file is something else.
    """
    if not path.exists():
        return [], 0
    rows, good = [], 0
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} does not hold compressed rows: {error}") from error
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no end of line")
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            begun = line.startswith(START) or START.startswith(line)
            if line.endswith(b"\n") or not begun:
                raise ValueError(f"{path}, line {number} is not a row of `evaluate`: {error}") from error
            break
        good += len(line)
    return rows, good


def write_packed(path: Path, rows: Sequence[Row]) -> None:
    """All of them, compressed; the same rows give the same bytes."""
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    write_bytes(path, gzip.compress(lines.encode(), mtime=0))


def repair(path: Path) -> list[Row]:
    """The rows of `read`, after cutting off a half-written last line.

    Raises:
        ValueError: `path` holds something else or is compressed.
    """
    if path.suffix == ".gz":
        raise ValueError(f"rows are appended, which {path} cannot be while compressed; give a name without .gz")
    rows, good = read(path)
    if path.exists():
        os.truncate(path, good)
    return rows


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Rows of all files; a computation that stands in several of them counts once.

    Raises:
        ValueError: a file is missing, empty or not rows; rows of several VLMs; one computation with two results.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for path in paths:
        if not path.is_file():
            raise ValueError(f"no rows at {str(path)!r}; `grip-vlm evaluate --out {path}` makes them")
        for row in read(path)[0]:
            if rows.setdefault(row.key, row).score != row.score:
                raise ValueError(f"{path} has another result for {' '.join(row.key)} than was read before; give one")
    if not rows:
        raise ValueError(f"there are no rows in {', '.join(map(str, paths))}")
    models = sorted({row.vlm for row in rows.values()})
    if len(models) > 1:
        raise ValueError(f"rows of several VLMs ({', '.join(models)}) do not go into one table; give them one by one")
    return list(rows.values())
