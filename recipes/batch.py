"""Rows a second of `grip-vlm batch` with one worker and with two, on two cores, in alternating rounds.

    python recipes/batch.py --out results/batch.md

Each worker has one core. The time runs from the first row to the last without loading: a worker writes its first part
before the clock starts. The whole time of the command, which starts Ray and loads the VLM, stands beside it.
"""

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from grip_vlm import benchmarks
from grip_vlm.files import write_text


@dataclass(frozen=True)
class Throughput:
    out: Path = Path("results/batch.md")
    """File for the table."""
    rows: int = 2048
    """Questions."""
    rounds: int = 2
    """Rounds; the median counts."""
    budget: str = "10%"
    """Of all questions."""


PART = 64  # rows


def main(settings: Throughput) -> None:
    seconds = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compose(folder, settings.rows)
        for number in range(settings.rounds):
            for workers in (0, 1, 2):
                seconds[workers].append(measure(folder, folder / f"{workers}-{number}", workers, settings.budget))
        tables = [pq.read_table(folder / f"{workers}-0") for workers in (0, 1, 2)]
        assert all(table.equals(tables[0]) for table in tables), "the rows differ"
    write_text(settings.out, report(settings, seconds))
    print(settings.out.read_text())


def compose(folder: Path, rows: int) -> None:
    """A Parquet file with images of the composed benchmarks."""
    names, table = benchmarks.composed(), defaultdict(list)
    (folder / "images").mkdir()
    for i in range(rows):
        example = benchmarks.example(names[i % len(names)], "dev", i // len(names))
        example.image.save(folder / "images" / f"{i}.png")
        table["image"].append(f"{i}.png")
        table["question"].append(example.question)
    pq.write_table(pa.table(table), folder / "questions.parquet")


def measure(folder: Path, out: Path, workers: int, budget: str) -> tuple[float, float]:
    """(seconds of the whole command, rows a second after the first parts)."""
    words = ["--data", folder / "questions.parquet", "--out", out, "--workers", workers, "--budget", budget]
    command = [sys.executable, "-m", "grip_vlm.cli", "batch", *map(str, words), "--rows-per-part", str(PART)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.perf_counter() - start
    times = sorted(file.stat().st_mtime for file in out.glob("part-*.parquet"))
    # A worker's first part ends later than the others' by its loading. All of them work from the last first part on.
    begun = max(1, workers)
    return whole, (len(times) - begun) * PART / (times[-1] - times[begun - 1])


def report(settings: Throughput, seconds: dict[int, list[tuple[float, float]]]) -> str:
    """The table, with ratios to one worker."""
    medians = {workers: [median(column) for column in zip(*found, strict=True)] for workers, found in seconds.items()}
    lines = [
        f"{settings.rows} questions about tiny-llava's scenes at {settings.budget}, batches of 8, parts of {PART} "
        f"rows, one core for each worker; median of {settings.rounds} alternating rounds. The rows are equal in all.",
        "",
        "| workers | rows a second | times one worker's | whole command, s |",
        "|---|--:|--:|--:|",
    ]
    for workers, (whole, rate) in sorted(medians.items()):
        name = f"{workers} of Ray" if workers else "0 (this process)"
        lines.append(f"| {name} | {rate:.1f} | {rate / medians[1][1]:.2f} | {whole:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(Throughput))
