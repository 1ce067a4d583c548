"""Rows on disk: one JSON object per answered item. Reading them needs neither a model nor torch."""

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from grip_vlm import strict_json
from grip_vlm.evaluation import facts
from grip_vlm.evaluation.row import FIXED, Row, row_of
from grip_vlm.files import write_bytes

__all__ = ["FIXED", "Row", "read", "read_rows", "repair", "write_folder", "write_packed"]


def read(path: Path) -> tuple[list[Row], int]:
    """The rows in a file, and how many bytes of the uncompressed file they take. See `strict_json.records`."""
    return strict_json.records(path, row_of, b'{"vlm": ', "a row of `evaluate`")


def repair(path: Path) -> list[Row]:
    """The rows of `read`, of a file that is about to grow; see `strict_json.repaired`."""
    return strict_json.repaired(path, read)


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
            all, two results of one computation, or rows that cannot share a table: of several VLMs, of other weights,
            another precision or a retrained scorer, or of items that changed in between (`facts`).
    """
    rows: dict[tuple[str, ...], Row] = {}
    known: dict[str, str] = {}
    for file in (file for path in paths for file in _row_files(path)):
        found = read(file)[0]
        facts.collect(found, known, str(file))
        for row in found:
            if rows.setdefault(row.job, row).score != row.score:
                raise ValueError(
                    f"{file} has another result for {' '.join(row.job)} than an earlier row; give one of the two"
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
