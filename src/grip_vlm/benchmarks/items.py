"""The items of a benchmark in order, composed or read one at a time: composed, published, or a user's own file."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example, Published, Spread
from grip_vlm.benchmarks.data import read_lines
from grip_vlm.benchmarks.dataset import open_dataset
from grip_vlm.benchmarks.published import PublishedQuestion
from grip_vlm.benchmarks.split import rows_of

ALL = "all"  # the split of a user's file that leaves nothing out


@dataclass(frozen=True)
class Items:
    """An open benchmark. Its items are not held in memory."""

    name: str
    """What rows call the benchmark."""
    count: int
    max_new_tokens: int
    example: Callable[[int], Example]
    """Returns the item of an index below `count`."""


def named(words: Sequence[str]) -> list[str]:
    """Names of benchmarks, where `scenes` stands for the composed ones, and `spread` for those of the larger world.

    Raises:
        ValueError: a benchmark is named twice.
    """
    names = [name for word in words for name in benchmarks.expand(word)]
    places = [os.path.realpath(name) if name.endswith(".jsonl") and "\0" not in name else name for name in names]
    for place, name in enumerate(names):
        if places[place] in places[:place]:
            raise ValueError(f"benchmark {name!r} is named twice; its items would count twice")
    return names


def open_items(name: str, split: str = "test", root: Path | None = None) -> Items:
    """Open a benchmark.

    Args:
        name: a benchmark, a variant such as `textvqa:ocr`, or a user's JSONL file (`data.py`), which is scored by exact
            match.
        split: train, dev or test of a composed benchmark or of a user's file, or all of a user's file. Published
            benchmarks have only `test`.
        root: folder with copies of published benchmarks; None reads them from the hub.

    Raises:
        ValueError: the benchmark, the variant or the split is unknown or empty, or the benchmark cannot be read.
    """
    if name.endswith(".jsonl"):
        return _user_items(Path(name), split)
    benchmark = benchmarks.load(name)
    if not isinstance(benchmark, Published):
        if split == ALL:
            raise ValueError(f"benchmark {name!r} has no split {split!r}, because there is no end to its items")
        new_tokens = 24 if isinstance(benchmark, Spread) else 8  # two words, or a list of four colours
        return Items(name, sys.maxsize, new_tokens, lambda index: benchmarks.example(name, split, index))
    if split != "test":
        raise ValueError(f"benchmark {name!r} has no split {split!r}, only test")
    return _published_items(name, benchmark, root)


def _user_items(path: Path, split: str) -> Items:
    if not path.is_file():
        raise ValueError(f"no benchmark file {str(path)!r}")
    lines = list(read_lines(path))
    if not lines:
        raise ValueError(f"{path} has no rows")
    if split == ALL:
        return Items(str(path), len(lines), 32, lambda index: lines[index].example())
    try:
        chosen = rows_of(split, lines, path)
    except ValueError as error:
        raise ValueError(f"{error}; --split all takes every row") from error
    rest = "; `--split all` takes every row, those that training reads among them" if split == "test" else ""
    Console(stderr=True).print(f"{path}: {len(chosen)} of {len(lines)} rows are for {split}{rest}", soft_wrap=True)
    return Items(str(path), len(chosen), 32, lambda index: chosen[index].example())


def _check(question: PublishedQuestion) -> None:
    """Raise a ValueError if a published question has parts that are not text."""
    for text in (question.text, *question.answers, question.group):
        if not isinstance(text, str):
            raise ValueError(f"question, answers and category must be texts, not {text!r}")
    if not question.answers:
        raise ValueError("there is no answer")


def _published_items(name: str, benchmark: Published, root: Path | None) -> Items:
    dataset = open_dataset(name.partition(":")[0], benchmark, root)

    def example(index: int) -> Example:
        number = dataset.indices[index]
        row = dataset.row(number)
        try:
            question = benchmark.ask(row)
            _check(question)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{dataset.source}, row {number} is not a row of benchmark {name!r}: {error}") from error
        item = f"{name}/{benchmark.split}/{number}"
        image, image_id = dataset.image(row, number)
        return Example(item, image, question.text, question.answers, name, question.group, image_id)

    return Items(name, len(dataset.indices), benchmark.max_new_tokens, example)
