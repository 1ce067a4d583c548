"""What a scorer is trained on: the project's scenes, or a user's JSON lines with an image folder."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, overload

from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.exact import EXACT

ROW = 'a row is an object such as {"image": "cat.png", "question": "What is it?", "answers": ["cat"]}'


def load_examples(data: str, split: str, count: int, seed: int = 0, labelled: bool = True) -> Sequence[Example]:
    """The first `count` examples of a split; images of a JSONL file are read when they are asked for, and not kept.

    Args:
        data: `scenes`, composed benchmarks' names with commas between them, which take turns, or a JSONL file of rows
            with `image` (a path relative to the file, to its `images` folder, or absolute), `question` and `answers`.
        split: train, dev or test; a JSONL file has no splits: every tenth row is dev, the others train.
        labelled: whether rows of a JSONL file must have answers; if not, none is read.

    Raises:
        ValueError: unknown data, a benchmark named twice, or a bad row, named by file and line.
    """
    composed = benchmarks.composed()
    names = composed if data == "scenes" else data.split(",")
    if set(names) <= set(composed):
        if len(set(names)) < len(names):
            raise ValueError(f"data {data!r} names a benchmark twice")
        return [benchmarks.example(names[i % len(names)], split, i // len(names), seed) for i in range(count)]
    path = Path(data)
    if not path.is_file():
        raise ValueError(f"no data {data!r}: neither `scenes`, nor some of {','.join(composed)}, nor a file")
    rows = [row for i, row in enumerate(read_lines(path, labelled)) if (i % 10 == 9) == (split != "train")]
    if not rows:
        raise ValueError(f"{path} has no rows for {split}; it needs at least ten rows")
    if len(rows) > count:
        Console(stderr=True).print(f"{path}: the first {count} of {len(rows)} rows for {split} are used")
    return _Examples(rows[:count])


@dataclass(frozen=True)
class Line:
    """One row of a user's JSONL file; every row of the file is checked, only the images of those in use are read."""

    where: str
    image: Path
    question: str
    answers: tuple[str, ...]

    def example(self) -> Example:
        """The row with its image read."""
        image = open_image(self.image, self.where)
        return Example(self.where, image, self.question, self.answers, EXACT, image_id=str(self.image))


class _Examples(Sequence[Example]):
    """Rows of a user's file as examples."""

    def __init__(self, rows: Sequence[Line]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return self.rows[at].example()


def read_lines(path: Path, labelled: bool = True) -> Iterator[Line]:
    """Rows of a user's JSONL file, checked, their images not read; without answers if they are not `labelled`.

    Raises:
        ValueError: a bad row, named by file and line.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{where}: not JSON ({error}); {ROW}") from error
                yield _checked(row, path, where, labelled)


def _checked(row: Any, path: Path, where: str, labelled: bool) -> Line:
    if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not isinstance(row.get("question"), str):
        raise ValueError(f"{where}: image or question is missing; {ROW}")
    answers: Any = row.get("answers") if labelled else ()
    if labelled and not (isinstance(answers, list) and answers and all(isinstance(a, str) and a for a in answers)):
        raise ValueError(f"{where}: answers must be a list of one text at least; {ROW}")
    return Line(where, find_image(path.parent, row["image"], where), row["question"], tuple(answers))


def find_image(folder: Path, name: str, where: str) -> Path:
    """An image of a table in `folder`: beside the table or in `images/`.

    Raises:
        ValueError: it is in neither; the message begins with `where`.
    """
    places = [folder / name, folder / "images" / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"{where}: no image {name!r}; looked at {' and '.join(map(str, places))}")
    return found


def open_image(path: Path, where: str = "", content: bytes | None = None) -> Image.Image:
    """An RGB image, fully read and turned upright as its EXIF data say.

    Args:
        content: the file's bytes, where they are at hand; `path` is then only what errors call it.

    Raises:
        ValueError: the file is missing or is not an image; the message begins with `where`.
    """
    prefix = f"{where}: " if where else ""
    try:
        with Image.open(path if content is None else BytesIO(content)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError as error:
        raise ValueError(f"{prefix}no image file {str(path)!r}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{prefix}{str(path)!r} is not an image that can be read: {error}") from error
