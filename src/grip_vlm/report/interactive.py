"""The figures as one interactive HTML file that works offline: every cost and benchmark, lines to hide, tooltips.

Ours: the page draws itself and stays under 100 kB. A plotly page embeds 4 MB of code.
"""

import json
import math
from importlib.resources import files

from grip_vlm.evaluation.rows import FIXED
from grip_vlm.report.coinciding import same_as
from grip_vlm.report.comparisons import Comparison
from grip_vlm.report.figures import GREY, styles
from grip_vlm.report.measured import Measured
from grip_vlm.report.tables import Compared, budget_text, difference_text


def page(measured: Measured, compared: Compared, ours: str) -> str:
    """The page as HTML. It contains its data and loads nothing."""
    axes = measured.axes()
    points = []
    for point in measured.points:
        comparison = compared.get((point.pruner, point.budget))
        costs = [point.cost(axis) for axis in axes]
        points.append(
            {
                "pruner": point.pruner,
                "budget": "all tokens" if point.pruner in FIXED else budget_text(point.budget),
                "costs": [round(cost, 6) if math.isfinite(cost) else None for cost in costs],
                "accuracy": round(100 * point.accuracy, 2),
                "low": round(100 * point.low, 2),
                "high": round(100 * point.high, 2),
                "tasks": {name: round(100 * value, 2) for name, value in point.by_benchmark.items()},
                "difference": _difference(comparison, ours) if comparison else "",
            }
        )
    options = styles(measured, ours)
    twins = same_as(measured, list(options))
    lines = [
        {
            "name": name,
            "same": twins.get(name, ""),
            "colour": style["color"],
            "marker": style["marker"],
            "width": style["lw"],
            "strong": style["color"] != GREY,
        }
        for name, style in options.items()
    ]
    data = {
        "vlm": measured.vlm,
        "axes": [{"name": axis.name, "unit": axis.unit} for axis in axes],
        "tasks": list(measured.points[0].by_benchmark),
        "points": points,
        "styles": lines,
    }
    template = (files("grip_vlm.report") / "interactive.html").read_text(encoding="utf-8")
    # Escaped, because "</script>" in a name would end the script element that holds the data.
    return template.replace("DATA", json.dumps(data).replace("<", "\\u003c"), 1)


def _difference(comparison: Comparison, ours: str) -> str:
    return f"{ours} minus this: {difference_text(comparison)} points, p {comparison.p:.2g}"
