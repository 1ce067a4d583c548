"""The figures as one HTML file that answers the mouse: offline, every cost and task, names to press, marks to read.

Drawn by a page of our own rather than a library: it stays under 100 kB, where plotly embeds 4 MB of code.
"""

import json
import math
from importlib.resources import files

from grip_vlm.evaluation.rows import FIXED
from grip_vlm.report.figures import GREY, styles
from grip_vlm.report.measured import Measured
from grip_vlm.report.tables import Compared, budget_said, points


def page(measured: Measured, compared: Compared, ours: str) -> str:
    """HTML with its data inside; nothing is loaded from anywhere."""
    axes = measured.axes()
    told = []
    for point in measured.points:
        found = compared.get((point.pruner, point.budget))
        costs = [point.cost(axis) for axis in axes]
        told.append(
            {
                "pruner": point.pruner,
                "said": "all tokens" if point.pruner in FIXED else budget_said(point.budget),
                "costs": [round(cost, 6) if math.isfinite(cost) else None for cost in costs],
                "accuracy": round(100 * point.accuracy, 2),
                "low": round(100 * point.low, 2),
                "high": round(100 * point.high, 2),
                "tasks": {name: round(100 * value, 2) for name, value in point.by_benchmark.items()},
                "difference": f"{ours} minus this: {points(found)} points, p {found.p:.2g}" if found else "",
            }
        )
    drawn = [
        {
            "name": name,
            "colour": style["color"],
            "marker": style["marker"],
            "width": style["lw"],
            "strong": style["color"] != GREY,
        }
        for name, style in styles(measured, ours).items()
    ]
    data = {
        "vlm": measured.vlm,
        "axes": [{"name": axis.name, "unit": axis.unit} for axis in axes],
        "tasks": list(measured.points[0].by_benchmark),
        "points": told,
        "styles": drawn,
    }
    template = (files("grip_vlm.report") / "interactive.html").read_text(encoding="utf-8")
    # A "<" in a name cannot end the script it stands in.
    return template.replace("DATA", json.dumps(data).replace("<", "\\u003c"), 1)
