"""A batch job from its input to its folder: what is left to do is answered, by a pool of workers or in this process."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from grip_vlm import pool, pruners
from grip_vlm.budget import Budget
from grip_vlm.options import DType, PoolOptions
from grip_vlm.serving.batch import columns, output, source
from grip_vlm.serving.batch.source import Part
from grip_vlm.serving.batch.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked of whom. Every field decides the answers."""

    vlm: str
    dtype: DType
    pruner: str
    """`NAME` or `NAME=DIR`."""
    seed: int
    budget: str
    batch: int
    max_new_tokens: int
    rows_per_part: int


def run(
    data: Path, out: Path, job: Job, *, workers: int, options: PoolOptions, console: Console, dry: bool = False
) -> dict[str, Any]:
    """Answer the rows of `data` that `out` has no answers for yet.

    Args:
        workers: of the pool; 0 answers in this process, without Ray.
        dry: answer a first batch in this process, say what the whole will cost, and write nothing.

    Returns:
        The counts of `output.summary`; nothing of a dry run.

    Raises:
        ValueError: the input, the job or the folder is not what it should be; the message says what would be right.
        OSError: the folder cannot be written.
    """
    files, out = [file.resolve() for file in source.files_of(data)], out.resolve()
    pruner = pruners.parse(job.pruner, job.vlm, job.seed)[1]
    schema = columns.schema_of(files)
    parts = source.parts_of(files, job.rows_per_part)
    identity = {"input": source.digest_of(files), **asdict(job), "scorer": pruner.checkpoint}
    identity["calibration"] = pruner.checkpoint_for(Budget.auto())  # a row may have a goal where the job has none
    settings = {name: value for name, value in asdict(job).items() if name != "rows_per_part"}
    settings |= {"folder": str(files[0].parent), "out": str(out), "schema": schema.serialize().to_pybytes().hex()}
    if dry:
        _say_cost(parts, settings, workers, console)
        return {}
    with output.opened(out, identity):
        finished, weights = output.done(out, parts)
        left = [part for part in parts if part.number not in finished]
        rows = sum(part.count for part in left)
        console.print(
            f"{sum(part.count for part in parts)} rows in {len(parts)} parts, {len(finished)} parts are there; "
            f"{rows} rows to answer with {f'{workers} workers' if workers else 'this process'}",
            soft_wrap=True,
        )
        if left:
            _answer(left, settings | {"weights": weights}, workers, options, console)
        return output.summary(out, parts)


def _answer(parts: list[Part], settings: dict[str, Any], workers: int, options: PoolOptions, console: Console) -> None:
    jobs, rows = [asdict(part) for part in parts], sum(part.count for part in parts)
    done = pool.results(jobs, Worker, settings, workers, options) if workers else _here(jobs, settings)
    hidden = not console.is_terminal
    columns_ = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    start, answered_rows = perf_counter(), 0
    with Progress(*columns_, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("rows", total=rows)
        for result in done:
            bar.advance(task, result["rows"])
            if hidden and not answered_rows and len(parts) > 1:
                each = result["seconds"] / result["rows"]
                minutes = each * (rows - result["rows"]) / max(1, min(workers, len(parts))) / 60
                console.print(f"{1000 * each:.1f} ms a row and worker: about {minutes:.1f} minutes", soft_wrap=True)
            answered_rows += result["rows"]
    seconds = perf_counter() - start
    console.print(f"{rows} rows in {seconds:.1f} s, {rows / seconds:.1f} rows a second", soft_wrap=True)


def _here(jobs: list[dict[str, Any]], settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    worker = Worker(**settings)
    for job in jobs:
        yield worker.run(job)


def _say_cost(parts: list[Part], settings: dict[str, Any], workers: int, console: Console) -> None:
    """Time one batch of the first part, and multiply."""
    start = perf_counter()
    worker = Worker(**settings, weights="")
    loaded = perf_counter() - start
    sample = Part(**{**asdict(parts[0]), "count": min(parts[0].count, worker.batch)})
    worker.answers(sample)
    start = perf_counter()
    worker.answers(sample)
    each = (perf_counter() - start) / sample.count
    rows = sum(part.count for part in parts)
    budget = Budget.parse(settings["budget"])
    console.print(
        f"{rows} rows in {len(parts)} parts. A batch of {sample.count} took {1000 * each:.1f} ms a row at {budget}, "
        f"after {loaded:.1f} s for loading: about {rows * each / max(1, workers) / 60:.1f} minutes with "
        f"{max(1, workers)} workers, if each has as many cores as this process",
        soft_wrap=True,
    )
