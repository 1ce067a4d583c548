"""Metrics of published benchmarks that are not simple averages of scores (MME points, POPE F1), from rows."""

from collections import defaultdict
from collections.abc import Sequence
from math import isnan

import numpy as np

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Published
from grip_vlm.evaluation.rows import Row
from grip_vlm.report import escape


def benchmark_metrics(rows: Sequence[Row], name: str) -> dict[tuple[str, str], dict[str, float]]:
    """The metrics of the benchmark `name`, averaged over checkpoints and seeds.

    Returns:
        (pruner, budget) -> metric -> value. Empty if the benchmark has no such metrics; a value is NaN if the rows do
        not allow the metric.
    """
    benchmark = benchmarks.load(name) if name.partition(":")[0] in benchmarks.names() else None
    if not isinstance(benchmark, Published):
        return {}
    runs: dict[tuple[str, str], dict[tuple[str, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.benchmark == name:
            runs[row.pruner, row.budget][row.checkpoint, row.seed].append(row)
    means = {}
    for key, by_run in runs.items():
        metrics = [benchmark.metrics(run) for run in by_run.values()]
        if metrics[0]:
            means[key] = {metric: float(np.mean([values[metric] for values in metrics])) for metric in metrics[0]}
    return means


def markdown(rows: Sequence[Row]) -> str:
    """One Markdown table per benchmark with such metrics; `-` stands for NaN. Empty if there is no such benchmark."""
    lines = []
    for name in sorted({row.benchmark for row in rows}):
        if means := benchmark_metrics(rows, name):
            metrics = list(next(iter(means.values())))
            lines += [
                "",
                f"| {escape.markdown(name)} | budget | " + " | ".join(metrics) + " |",
                "|---|" + "--:|" * (len(metrics) + 1),
            ]
            for (pruner, budget), values in sorted(means.items()):
                cells = ["-" if isnan(values[metric]) else f"{values[metric]:.1f}" for metric in metrics]
                lines.append("| " + " | ".join([escape.markdown(pruner), budget, *cells]) + " |")
    return "".join(f"{line}\n" for line in lines)
