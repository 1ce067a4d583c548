"""Evaluation by a pool of Ray workers. They answer the batches of a single process, so the rows are the same."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from grip_vlm import pool, pruners, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import answer_items, common_fields, facts_of
from grip_vlm.evaluation.output import Rows, opened
from grip_vlm.evaluation.row import Row, row_of
from grip_vlm.goals import Mean
from grip_vlm.options import DType, PoolOptions


class Worker:
    """Answers batches of items.

    Args:
        pruners: texts as `pruners.parse` takes them.
        known: fields of the rows that are there already.
        out: the file they are in, for messages.
    """

    def __init__(
        self,
        *,
        vlm: str,
        dtype: DType,
        pruners: Sequence[str],
        seed: int,
        benchmarks: Sequence[str],
        split: str,
        data_root: str | None,
        budgets: Sequence[str],
        known: Sequence[dict[str, Any]],
        out: str,
    ) -> None:
        self.pruners = named_pruners(pruners, vlm, seed)
        root = None if data_root is None else Path(data_root)
        self.items = {items.name: items for items in (open_items(name, split, root) for name in benchmarks)}
        self.budgets = [Budget.parse(budget) for budget in budgets]
        self.rows = Rows(Path(out), [row_of(fields) for fields in known])
        self.vlm = vlms.load(vlm, dtype=dtype)
        self.common = common_fields(self.vlm, seed)
        self.rows.refuse_changed(facts_of(self.vlm, self.pruners, self.budgets, self.common))

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The rows of a batch, `indices` of the benchmark `name`."""
        rows = answer_items(
            self.vlm,
            self.pruners,
            self.items[job["name"]],
            job["indices"],
            self.budgets,
            self.rows,
            self.common,
        )
        return {"job": job["number"], "rows": [asdict(row) for row in rows]}


def named_pruners(texts: Sequence[str], vlm: str, seed: int) -> dict[str, pruners.Pruner]:
    """Pruners by their names.

    Raises:
        ValueError: see `pruners.parse`; or a pruner is named twice.
    """
    pairs = [pruners.parse(text, vlm, seed) for text in texts]
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a pruner is named twice; evaluate its scorers in two calls with the same --out")
    return dict(pairs)


def evaluate_pooled(
    settings: dict[str, Any],
    counts: dict[str, int],
    out: Path,
    *,
    batch: int,
    workers: int,
    options: PoolOptions,
) -> list[Row]:
    """`evaluate` with a pool of workers.

    Args:
        settings: of `Worker`, without `known` and `out`.
        counts: items to answer of each benchmark.
        batch: items answered together.
        workers: of the pool, 1 or more.

    Returns:
        The rows of all these items, old and new, in the order of a single process.

    Raises:
        ValueError: what `evaluate` raises; or a budget is a mean over a stream, which workers would cut.
    """
    for budget in settings["budgets"]:
        if isinstance(Budget.parse(budget).goal, Mean):
            raise ValueError(f"the budget {budget} is a mean over one stream of questions; leave out --ray for it")
    batches = [
        {"name": name, "indices": list(range(start, min(start + batch, count)))}
        for name, count in counts.items()
        for start in range(0, count, batch)
    ]
    jobs = [{"number": number, **each} for number, each in enumerate(batches)]
    bars, done = Console(stderr=True), dict[int, list[Row]]()
    with opened(out) as file:
        known = [asdict(row) for row in file.rows.values()]
        found = pool.results(jobs, Worker, {**settings, "known": known, "out": str(out)}, workers, options)
        hidden = not bars.is_terminal
        for result in track(found, "batches", len(jobs), transient=True, console=bars, disable=hidden):
            rows = [row_of(fields) for fields in result["rows"]]
            file.append(rows)
            done[result["job"]] = [file.rows[row.key] for row in rows]
    return [row for number in range(len(jobs)) for row in done[number]]
