"""Time at equal accuracy: timed answers and rows of `evaluate` -> how long each method takes to reach an accuracy."""

import math
from collections import defaultdict
from collections.abc import Sequence

from grip_vlm.report import escape
from grip_vlm.report.curves import cost_at
from grip_vlm.report.measured import Point
from grip_vlm.report.timings import Timed

SHARES = (0.95, 0.98)  # of the accuracy of the full model


def milliseconds(points: Sequence[Point], entries: Sequence[Timed], accuracy: float) -> dict[str, float]:
    """pruner -> the least time per question at which it reaches an accuracy, log-linear between its budgets.

    Pruners without a timed budget are left out; a pruner that never reaches it has infinity.
    """
    times = {(entry.pruner, entry.budget): entry.total for entry in entries}
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for point in points:
        if (point.pruner, point.budget) in times and point.pruner != "blind":
            curves[point.pruner].append((times[point.pruner, point.budget], point.accuracy))
    return {name: cost_at(accuracy, *zip(*curve, strict=True)) for name, curve in curves.items()}


def markdown(points: Sequence[Point], entries: Sequence[Timed], ours: str) -> str:
    """A Markdown table of every batch size and share of the full model's accuracy, fastest first.

    Args:
        points: accuracies, from `measured.measure`.
        ours: the pruner whose time is 1.

    Raises:
        ValueError: the accuracy of `full` is unknown, or no pruner is both timed and measured.
    """
    full = next((point.accuracy for point in points if point.pruner == "full"), None)
    if full is None:
        raise ValueError("time at equal accuracy needs rows of `full`, whose accuracy is to be reached")
    lines = [f"| batch | accuracy | pruner | ms | times {escape.markdown(ours)}'s |", "|--:|--:|---|--:|--:|"]
    for batch in sorted({entry.batch for entry in entries}):
        for share in SHARES:
            reached = milliseconds(points, [entry for entry in entries if entry.batch == batch], share * full)
            if not reached:
                raise ValueError("no pruner is both timed and in the rows of `evaluate` at the same budget")
            for name, cost in sorted(reached.items(), key=lambda item: (item[1], item[0])):
                known = math.isfinite(cost)
                cells = [f"{cost:.2f}" if known else "never"]
                cells += [f"{cost / reached[ours]:.2f}" if known and reached.get(ours, math.inf) < math.inf else "-"]
                line = [str(batch), f"{100 * share:.0f} % of full", escape.markdown(name), *cells]
                lines.append("| " + " | ".join(line) + " |")
    return "".join(f"{line}\n" for line in lines)
