"""The questions of a batch job: JSON lines or Parquet, cut into parts, and read again one part at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from grip_vlm import strict_json
from grip_vlm.benchmarks.data import find_image
from grip_vlm.images import open_image
from grip_vlm.serving.data_uri import decoded, is_data_uri

LINE = 2**26  # bytes: a line may carry a photograph in base64
KINDS = (".parquet", ".jsonl")
CHUNK = 2**20  # bytes read at a time for the digest


@dataclass(frozen=True)
class Part:
    """Consecutive rows of one file."""

    number: int
    file: str
    first: int
    """Number of its first row, counted over the whole input."""
    count: int
    start: int
    """Where its first row is: the byte in a JSONL file, the row in a Parquet file."""


def files_of(path: Path) -> list[Path]:
    """The files of an input: itself, or the Parquet files or JSONL files of a folder, sorted by name.

    Raises:
        ValueError: there is none, or of both kinds.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in KINDS and file.name[0] not in "._")
        if len({file.suffix for file in files}) == 1:
            return files
        raise ValueError(f"the folder {path} must hold *.parquet or *.jsonl, and not both")
    if not path.is_file():
        raise ValueError(f"no input {str(path)!r}")
    if path.suffix not in KINDS:
        raise ValueError(f"the input {path} must be a .parquet or .jsonl file, or a folder of such files")
    return [path]


def digest_of(files: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits of the content of the files in their order."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(f"{file.stat().st_size} ".encode())
        with file.open("rb") as content:
            while data := content.read(CHUNK):
                sha.update(data)
    return sha.hexdigest()[:16]


def parts_of(files: Sequence[Path], size: int) -> list[Part]:
    """The input in parts of at most `size` rows. A part never crosses a file, or a row group of a Parquet file."""
    parts: list[Part] = []
    first = 0
    for file in files:
        for start, count in _parquet_cuts(file, size) if file.suffix == ".parquet" else _line_cuts(file, size):
            parts.append(Part(len(parts), str(file), first, count, start))
            first += count
    return parts


def _line_cuts(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """(byte, rows) of each part of a JSONL file."""
    start = end = count = 0
    for line in strict_json.lines(file, max_line=LINE):
        end += len(line)
        count += bool(line.strip())
        if count == size:
            yield start, count
            start, count = end, 0
    if count:
        yield start, count


def _parquet_cuts(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """(row, rows) of each part of a Parquet file."""
    metadata, start = open_parquet(file).metadata, 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        yield from ((start + begin, min(size, rows - begin)) for begin in range(0, rows, size))
        start += rows


def open_parquet(file: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`. Raises a ValueError if it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} is not a Parquet file that can be read: {error}") from error


def rows_of(part: Part) -> list[dict[str, Any] | str]:
    """The rows of a part. A line that is no row is the sentence that says why."""
    file = Path(part.file)
    return _parquet_rows(file, part) if file.suffix == ".parquet" else list(_json_rows(file, part))


def _json_rows(file: Path, part: Part) -> Iterator[dict[str, Any] | str]:
    with file.open("rb") as content:
        content.seek(part.start)
        for line in islice((line for line in content if line.strip()), part.count):
            yield parse(line)


def parse(line: bytes) -> dict[str, Any] | str:
    """The row in a line of JSON, or the sentence that says why there is none."""
    try:
        row = strict_json.parse(line)
    except ValueError as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else "the line is not an object with fields"


def _parquet_rows(file: Path, part: Part) -> list[dict[str, Any] | str]:
    content, start = open_parquet(file), 0
    for group in range(content.metadata.num_row_groups):
        rows = content.metadata.row_group(group).num_rows
        if part.start < start + rows:
            table = content.read_row_group(group).slice(part.start - start, part.count)
            return list(table.to_pylist())
        start += rows
    raise ValueError(f"{file} has fewer rows than when the job began")


def image_of(value: Any, folder: Path) -> Image.Image:
    """The image that a row names or holds.

    Args:
        value: a path, absolute or relative to `folder` or to `images` in it; a data URI; the bytes of an
            image file; or {"bytes": ..., "path": ...}, as the `datasets` library writes it.

    Raises:
        ValueError: it is none of them, or cannot be read.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return open_image("image", content=value)
    if not isinstance(value, str) or not value:
        raise ValueError('image must be a path, a data URI or the bytes of an image file, such as "cat.png"')
    if is_data_uri(value):
        return open_image("image", content=decoded(value))
    if "://" in value:
        raise ValueError(f"images are not fetched: {value[:100]!r}; give a file, a data URI or bytes")
    return open_image(find_image(folder, value, "the row"))


def is_path(value: Any) -> bool:
    """Whether an image is the path of a file, which the output repeats."""
    return isinstance(value, str) and not is_data_uri(value)
