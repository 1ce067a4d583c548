"""Training data: composed benchmarks, or a user's JSON lines with an image folder."""

import codecs
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from rich.console import Console

from grip_vlm import benchmarks, strict_json
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.exact import EXACT
from grip_vlm.benchmarks.split import rows_of
from grip_vlm.images import open_image

ROW_FORMAT = 'a row is an object such as {"image": "cat.png", "question": "What is it?", "answers": ["cat"]}'


def load_examples(data: str, split: str, count: int, seed: int = 0, labelled: bool = True) -> Sequence[Example]:
    """The first `count` examples of a split. An image of a JSONL file is read on every access and not held in memory.

    Args:
        data: `scenes` for the composed benchmarks, `spread` for those of the larger world, comma-separated names of
            some of them, or a JSONL file. Benchmarks alternate. A row of a JSONL file has `image`, `question` and
            `answers`. The image is a path: absolute, or relative to the file or to its `images` folder.
        split: train, dev or test. A row of a JSONL file falls into one of them by its image (`split.py`).
        labelled: whether rows of a JSONL file must have answers. If not, answers are not read.

    Raises:
        ValueError: the data are unknown, a benchmark is named twice, the split has no rows, or a row is bad; the
            message names the file and the line.
    """
    names = [name for word in data.split(",") for name in benchmarks.expand(word)]
    if set(names) <= {*benchmarks.composed(), *benchmarks.expand(benchmarks.SPREAD)}:
        if len(set(names)) < len(names):
            raise ValueError(f"data {data!r} names a benchmark twice")
        return [benchmarks.example(names[i % len(names)], split, i // len(names), seed) for i in range(count)]
    path = Path(data)
    if not path.is_file():
        raise ValueError(
            f"no data {data!r}: neither `scenes`, nor some of {','.join(benchmarks.composed())}, nor `spread`, nor "
            "a file"
        )
    rows = rows_of(split, list(read_lines(path, labelled)), path)
    if len(rows) > count:
        Console(stderr=True).print(f"{path}: the first {count} of {len(rows)} rows for {split} are used")
    return _Examples(rows[:count])


@dataclass(frozen=True)
class Line:
    """One checked row of a user's JSONL file. Its image is not read yet."""

    where: str
    """File and line, for error messages; also the item's identifier."""
    image: Path
    question: str
    answers: tuple[str, ...]

    def example(self) -> Example:
        """The row with its image read."""
        image = open_image(self.image, self.where)
        return Example(self.where, image, self.question, self.answers, EXACT, image_id=str(self.image))


class _Examples(Sequence[Example]):
    """Rows of a user's file as examples. Images are read on access."""

    def __init__(self, rows: Sequence[Line]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.rows[index].example()


def read_lines(path: Path, labelled: bool = True) -> Iterator[Line]:
    """The checked rows of a user's JSONL file, without answers unless `labelled`. Images are not read.

    Raises:
        ValueError: a row is bad; the message names the file and the line.
    """
    for number, line in enumerate(strict_json.lines(path), start=1):
        if line.removeprefix(codecs.BOM_UTF8).strip():
            where = f"{path}, line {number}"
            try:
                row = strict_json.parse(line)
            except ValueError as error:
                raise ValueError(f"{where}: not JSON ({error}); {ROW_FORMAT}") from error
            yield _checked(row, path, where, labelled)


def _checked(row: Any, path: Path, where: str, labelled: bool) -> Line:
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not isinstance(row.get("question"), str):
        raise ValueError(f"{where}: image or question is missing; {ROW_FORMAT}")
    answers: Any = row.get("answers") if labelled else ()
    if labelled and not (isinstance(answers, list) and answers and all(isinstance(a, str) and a for a in answers)):
        raise ValueError(f"{where}: answers must be a list with at least one text; {ROW_FORMAT}")
    return Line(where, find_image(path.parent, row["image"], where), row["question"], tuple(answers))


def find_image(folder: Path, name: str, where: str) -> Path:
    """The path of an image: `name` in `folder` or in `folder/images`.

    Raises:
        ValueError: it is in neither; the message begins with `where`.
    """
    candidates = [folder / name, folder / "images" / name]
    for path in candidates:
        if os.path.isfile(path):  # False for names that no file can have, too
            return path
    raise ValueError(f"{where}: no image {name!r}; tried {' and '.join(map(str, candidates))}")
