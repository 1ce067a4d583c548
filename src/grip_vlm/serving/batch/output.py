"""The folder that a batch job writes: one Parquet file for each finished part, and what the job is."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grip_vlm import strict_json
from grip_vlm.files import exclusive, new_file, refuse_no_folder, write_text
from grip_vlm.serving.batch.source import Part, open_parquet

JOB = "_job.json"  # readers of Parquet pass over names that begin with an underscore
WEIGHTS = b"grip_vlm.weights"  # in the metadata of a part: what answered


def file_of(folder: Path, part: Part) -> Path:
    """The file of a part."""
    return folder / f"part-{part.number:06d}.parquet"


@contextmanager
def opened(folder: Path, job: Mapping[str, str | int]) -> Iterator[None]:
    """The folder, which no other process writes meanwhile, and which holds parts of this job alone.

    Args:
        job: the digest of the input and every setting that decides an answer.

    Raises:
        ValueError: another process writes to it, it holds parts of another input or of other settings (the message
            names what differs), or something else.
        OSError: it cannot be written.
    """
    refuse_no_folder(folder)
    with exclusive(folder):
        path = folder / JOB
        if path.is_file():
            before = strict_json.parse(path.read_bytes())
            for name in job if isinstance(before, dict) else ():
                if before.get(name) != job[name]:
                    raise ValueError(
                        f"{folder} has answers for another {name} ({before.get(name)}, now it is {job[name]}); give "
                        "another --out"
                    )
        elif folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"the folder {folder} holds something else than a batch job; give another --out")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(dict(job), indent=1) + "\n")
        for left in folder.glob(".part-*.tmp"):  # of workers that were killed
            left.unlink(missing_ok=True)
        yield


def done(folder: Path, parts: Sequence[Part]) -> tuple[set[int], str]:
    """The numbers of the parts that are finished, and the digest of the weights that answered them, "" if none is.

    Raises:
        ValueError: a part is not whole, or has other rows than the input.
    """
    numbers, weights = set(), ""
    for part in parts:
        file = file_of(folder, part)
        if file.is_file():
            metadata = open_parquet(file).metadata
            if metadata.num_rows != part.count:
                raise ValueError(f"{file} has {metadata.num_rows} rows, not {part.count}; remove it")
            numbers.add(part.number)
            weights = (metadata.metadata or {}).get(WEIGHTS, b"").decode()
    return numbers, weights


def write(folder: Path, part: Part, table: Any, weights: str) -> None:
    """Write a part as a whole or not at all."""
    import pyarrow.parquet as pq

    with new_file(file_of(folder, part)) as beside:
        pq.write_table(table.replace_schema_metadata({WEIGHTS: weights.encode()}), beside)


def summary(folder: Path, parts: Sequence[Part]) -> dict[str, Any]:
    """Counts over all parts: rows, errors, tokens, kept, and the first error with its row."""
    rows = errors = tokens = kept = 0
    first = ""
    for part in parts:
        table = open_parquet(file_of(folder, part)).read(["row", "tokens", "kept", "error"])
        for row in table.to_pylist():
            rows += 1
            tokens, kept = tokens + (row["tokens"] or 0), kept + (row["kept"] or 0)
            if row["error"] is not None:
                errors += 1
                first = first or f"row {row['row']}: {row['error']}"
    return {"rows": rows, "errors": errors, "tokens": tokens, "kept": kept, "first": first}
