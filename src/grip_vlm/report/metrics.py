"""rows -> the metrics of published benchmarks that are no means of scores: MME's points, POPE's F1. No model."""

from collections import defaultdict
from collections.abc import Sequence
from math import isnan

import numpy as np

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Published
from grip_vlm.evaluation.rows import Row


def summaries(rows: Sequence[Row], name: str) -> dict[tuple[str, str], dict[str, float]]:
    """(pruner, budget) -> the metrics of the benchmark `name`, averaged over checkpoints and seeds; empty for a
    benchmark without any, NaN where the rows do not allow one."""
    benchmark = benchmarks.load(name) if name.partition(":")[0] in benchmarks.names() else None
    if not isinstance(benchmark, Published):
        return {}
    runs: dict[tuple[str, str], dict[tuple[str, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.benchmark == name:
            runs[row.pruner, row.budget][row.checkpoint, row.seed].append(row)
    found = {}
    for key, by_run in runs.items():
        each = [benchmark.summary(run) for run in by_run.values()]
        if each[0]:
            found[key] = {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}
    return found


def tables(rows: Sequence[Row]) -> str:
    """Markdown: one table per benchmark with such metrics, `-` where the rows do not allow one; else nothing."""
    out = []
    for name in sorted({row.benchmark for row in rows}):
        if found := summaries(rows, name):
            metrics = list(next(iter(found.values())))
            out += ["", f"| {name} | budget | " + " | ".join(metrics) + " |", "|---|" + "--:|" * (len(metrics) + 1)]
            for (pruner, budget), values in sorted(found.items()):
                cells = ["-" if isnan(values[metric]) else f"{values[metric]:.1f}" for metric in metrics]
                out.append("| " + " | ".join([pruner, budget, *cells]) + " |")
    return "".join(f"{line}\n" for line in out)
