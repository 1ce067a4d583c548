"""The items of a benchmark in order, composed or read one at a time: composed, published, or a user's own file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example, Published
from grip_vlm.benchmarks.data import read_lines
from grip_vlm.benchmarks.dataset import open_dataset


@dataclass(frozen=True)
class Items:
    """An open benchmark. Its items are not held in memory."""

    name: str
    """What rows call the benchmark."""
    count: int
    max_new_tokens: int
    example: Callable[[int], Example]
    """Returns the item of an index below `count`."""


def open_items(name: str, split: str = "test", root: Path | None = None) -> Items:
    """Open a benchmark.

    Args:
        name: a benchmark, a variant such as `textvqa:ocr`, or a user's JSONL file (`data.py`). All rows of a user's
            file are taken and scored by exact match.
        split: train, dev or test of a composed benchmark. The others have only `test`.
        root: folder with copies of published benchmarks; None reads them from the hub.

    Raises:
        ValueError: the benchmark, the variant or the split is unknown, or the benchmark cannot be read.
    """
    is_file = name.endswith(".jsonl")
    benchmark = None if is_file else benchmarks.load(name)
    if benchmark is not None and not isinstance(benchmark, Published):
        return Items(name, sys.maxsize, 8, lambda index: benchmarks.example(name, split, index))
    if split != "test":
        raise ValueError(
            f"benchmark {name!r} has no split {split!r}; only composed benchmarks have splits besides test"
        )
    return _user_items(Path(name)) if benchmark is None else _published_items(name, benchmark, root)


def _user_items(path: Path) -> Items:
    if not path.is_file():
        raise ValueError(f"no benchmark file {str(path)!r}")
    lines = list(read_lines(path))
    if not lines:
        raise ValueError(f"{path} has no rows")
    return Items(str(path), len(lines), 32, lambda index: lines[index].example())


def _published_items(name: str, benchmark: Published, root: Path | None) -> Items:
    dataset = open_dataset(name.partition(":")[0], benchmark, root)

    def example(index: int) -> Example:
        number = dataset.indices[index]
        row = dataset.row(number)
        try:
            question = benchmark.ask(row)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{dataset.source}, row {number} is not a row of benchmark {name!r}: {error}") from error
        item = f"{name}/{benchmark.split}/{number}"
        image, image_id = dataset.image(row, number)
        return Example(item, image, question.text, question.answers, name, question.group, image_id)

    return Items(name, len(dataset.indices), benchmark.max_new_tokens, example)
