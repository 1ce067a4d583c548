"""Rows on disk: one JSON object per answered item. Reading them needs neither a model nor torch."""

import gzip
import json
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from grip_vlm.files import write_bytes

FIXED = {"full": "1.0", "blind": "0"}  # pruners that ignore the budget -> the budget that their rows carry

_ROW_START = b'{"vlm": '  # the first bytes of every row


@dataclass(frozen=True)
class Row:
    """One item answered once. The fields are a public contract."""

    vlm: str
    """Name of the VLM: a folder or a hub identifier."""
    pruner: str
    checkpoint: str
    """Folder and weight hash of a trained pruner; empty for an untrained one."""
    benchmark: str
    item: str
    """Identifier of the item in its benchmark."""
    budget: str
    """The budget as text: a fraction such as `0.1` or a number of tokens such as `64`."""
    tokens: int
    """Visual tokens of the item."""
    kept: int
    """Visual tokens per layer of the language model, mean over layers, rounded."""
    prediction: str
    target: str
    """The first of the item's answers."""
    score: float
    """The benchmark's score of the prediction, in [0, 1]."""
    seconds: float
    """Seconds per item: vision tower, pruner and language model. The time of a batch is divided by its size. The tower
    runs once for all pruners, and its time counts for each of them."""
    seed: int
    commit: str
    torch: str
    transformers: str
    device: str
    entering: int | None = None
    """Visual tokens that enter the language model; None in older files."""
    group: str = ""
    """Category used by the benchmark's aggregate metric; empty in older files."""
    image_id: str = ""
    """Shared by all items about one image; they are bootstrapped together. Empty if every item has its own image."""

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies a computation: rows with equal keys are the same one."""
        return (self.vlm, self.pruner, self.checkpoint, self.benchmark, self.item, self.budget, str(self.seed))


def read(path: Path) -> tuple[list[Row], int]:
    """The rows in a file, compressed if its name ends in .gz. A missing file has none.

    A last line that was cut off while it was written is skipped.

    Returns:
        The rows, and how many bytes of the uncompressed file they take.

    Raises:
        ValueError: a complete line is not a row, or the file cannot be decompressed.
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
            row_begins = line.startswith(_ROW_START) or _ROW_START.startswith(line)
            if line.endswith(b"\n") or not row_begins:
                raise ValueError(f"{path}, line {number} is not a row of `evaluate`: {error}") from error
            break
        good += len(line)
    return rows, good


def repair(path: Path) -> list[Row]:
    """The rows of `read`. A cut-off last line is removed from the file.

    Raises:
        ValueError: the file holds something else or is compressed.
    """
    if path.suffix == ".gz":
        raise ValueError(f"rows cannot be appended to {path} because it is compressed; give a name without .gz")
    rows, good = read(path)
    if path.exists():
        os.truncate(path, good)
    return rows


def write_packed(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows to one compressed file. The same rows in the same order give the same bytes."""
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    write_bytes(path, gzip.compress(lines.encode(), mtime=0))


def write_folder(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write one compressed file per pruner and seed, `PRUNER-SEED.jsonl.gz`, and leave other files alone.

    Ours: git stores an unchanged file only once, so a new run adds only the pruners that it changed. Characters of a
    pruner's name other than letters, digits, `_`, `.` and `-` become `_`.

    Returns:
        The files, sorted.

    Raises:
        ValueError: two pruners would share a file.
    """
    runs: dict[Path, list[Row]] = {}
    for row in rows:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", row.pruner)
        runs.setdefault(folder / f"{name}-{row.seed}.jsonl.gz", []).append(row)
    for path, run in runs.items():
        if len(pruners := {row.pruner for row in run}) > 1:
            raise ValueError(f"pruners {', '.join(sorted(pruners))} would share {path}; rename one of them")
    for path, run in runs.items():
        write_packed(path, run)
    return sorted(runs)


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """The rows of all files and folders. A computation that stands in several files counts once.

    Args:
        paths: a folder means its *.jsonl and *.jsonl.gz files, sorted by name, without those of its subfolders.

    Raises:
        ValueError: a path is missing or a folder has no such file; a file does not hold rows; there are no rows at
            all, rows of several VLMs, or two results of one computation.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for file in (file for path in paths for file in _row_files(path)):
        for row in read(file)[0]:
            if rows.setdefault(row.key, row).score != row.score:
                raise ValueError(
                    f"{file} has another result for {' '.join(row.key)} than an earlier file; give one of the two"
                )
    if not rows:
        raise ValueError(f"there are no rows in {', '.join(map(str, paths))}")
    models = sorted({row.vlm for row in rows.values()})
    if len(models) > 1:
        raise ValueError(f"rows of several VLMs ({', '.join(models)}) cannot share a table; give one VLM at a time")
    return list(rows.values())


def _row_files(path: Path) -> list[Path]:
    """The files of rows that a path stands for."""
    if path.is_dir():
        if files := sorted(file for file in path.iterdir() if file.name.endswith((".jsonl", ".jsonl.gz"))):
            return files
        raise ValueError(f"the folder {str(path)!r} holds no *.jsonl or *.jsonl.gz")
    if not path.is_file():
        raise ValueError(f"no rows at {str(path)!r}; `grip-vlm evaluate --out {path}` writes them")
    return [path]
