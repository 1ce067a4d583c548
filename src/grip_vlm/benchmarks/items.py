"""The items of a benchmark in their order, made or read one at a time: composed, published, or a user's own file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example, Published
from grip_vlm.benchmarks.data import read_lines
from grip_vlm.benchmarks.tables import open_table


@dataclass(frozen=True)
class Items:
    """As many items as there are, none of them in memory."""

    name: str
    """what their rows are filed under"""
    count: int
    max_new_tokens: int
    example: Callable[[int], Example]
    """item of an index below `count`"""


def open_items(name: str, split: str = "test", root: Path | None = None) -> Items:
    """Items of a benchmark.

    Args:
        name: a benchmark, a variant of a published one (`textvqa:ocr`), or a user's JSONL file as in `data.py`, of
            which all rows are taken and scored by exact match.
        split: of a composed benchmark; the others are one split, called test.
        root: folder with copies of published benchmarks; None reads them from the hub.

    Raises:
        ValueError: an unknown benchmark or variant, one that cannot be read, or a split that it has not.
    """
    own = name.endswith(".jsonl")
    benchmark = None if own else benchmarks.load(name)
    if benchmark is not None and not isinstance(benchmark, Published):
        return Items(name, sys.maxsize, 8, lambda index: benchmarks.example(name, split, index))
    if split != "test":
        raise ValueError(f"benchmark {name!r} has no split {split!r}: it is evaluated as it is, with --split test")
    return _own(Path(name)) if benchmark is None else _published(name, benchmark, root)


def _own(path: Path) -> Items:
    if not path.is_file():
        raise ValueError(f"no benchmark file {str(path)!r}")
    lines = list(read_lines(path))
    if not lines:
        raise ValueError(f"{path} has no rows")
    return Items(str(path), len(lines), 32, lambda index: lines[index].example())


def _published(name: str, benchmark: Published, root: Path | None) -> Items:
    table = open_table(name.partition(":")[0], benchmark, root)

    def example(index: int) -> Example:
        place = table.kept[index]
        row = table.row(place)
        try:
            asked = benchmark.ask(row)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{table.where}, row {place} is not one of benchmark {name!r}: {error}") from error
        item = f"{name}/{benchmark.split}/{place}"
        image, image_id = table.image(row, place)
        return Example(item, image, asked.question, asked.answers, name, asked.group, image_id)

    return Items(name, len(table.kept), benchmark.max_new_tokens, example)
