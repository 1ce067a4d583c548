"""What was measured as tables: every point in detail, accuracy by budget, curve numbers; in Markdown and LaTeX."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grip_vlm.budget import Budget
from grip_vlm.report.comparisons import Comparison
from grip_vlm.report.measured import FLOPS, SECONDS, TOKENS, Axis, Measured
from grip_vlm.report.summaries import LEVELS, Estimate, Summary

Compared = dict[tuple[str, str], Comparison]


class Table(NamedTuple):
    """Text in cells; the first column is of names, the others of numbers."""

    head: list[str]
    lines: list[list[str]]


def markdown(table: Table) -> str:
    rule = "|---|" + "--:|" * (len(table.head) - 1)
    rows = ["| " + " | ".join(cells) + " |" for cells in (table.head, *table.lines)]
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n"


def latex(table: Table) -> str:
    """A `tabular` with the rules of `booktabs`; **bold** is kept."""
    rows = [" & ".join(map(_escaped, cells)) + r" \\" for cells in (table.head, *table.lines)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}"
    return "\n".join([begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"∞": r"$\infty$", "±": r"$\pm$", "†": r"\rlap{$^\dagger$}"}
    for sign in "&%$#_{}":
        special[sign] = "\\" + sign
    bold = re.fullmatch(r"\*\*(.+?)\*\*(.*)", text)
    if bold:
        return rf"\textbf{{{_escaped(bold[1])}}}{_escaped(bold[2])}"
    return "".join(special.get(character, character) for character in text)


def detail(measured: Measured, compared: Compared, ours: str) -> Table:
    """Every pruner and budget, with ours minus it and its p-value over all comparisons."""
    full = next((point.accuracy for point in measured.points if point.pruner == "full"), None)
    names = list(measured.points[0].by_benchmark)
    costs = [axis for axis in (FLOPS, SECONDS) if axis in measured.axes()]
    head = ["pruner", "budget", "kept", "accuracy", "95 % interval", "seeds", "of full", f"{ours} minus this"]
    lines = []
    for point in sorted(measured.points, key=lambda p: (-p.kept, -p.accuracy)):
        line = [point.pruner, point.budget, f"{100 * point.kept:.1f} %", f"{100 * point.accuracy:.1f}"]
        line += [f"{100 * point.low:.1f} to {100 * point.high:.1f}", str(point.seeds)]
        line += [f"{100 * point.accuracy / full:.1f} %" if full else "-"]
        found = compared.get((point.pruner, point.budget))
        line += [points(found), f"{found.p:.2g}"] if found else ["-", "-"]
        line += [f"{100 * point.by_benchmark[name]:.1f}" for name in names]
        line += [_number(point.cost(axis)) for axis in costs]
        lines.append(line)
    return Table([*head, "p (Holm)", *names, *(axis.unit for axis in costs)], lines)


def by_budget(measured: Measured, compared: Compared) -> Table:
    """A pruner per line, a budget per column, best first: accuracy and half the width of its interval in points.

    The best of a column is bold; † marks what differs from ours at 5 % after Holm's correction.
    """
    budgets = measured.budgets()
    found = {(point.pruner, point.budget): point for point in measured.points}
    best = {b: max(p.accuracy for p in measured.points if p.budget == b) for b in budgets}
    lines = []
    for name in ranked(measured):
        line = [name]
        for budget in budgets:
            point = found.get((name, budget))
            if point is None:
                line.append("-")
                continue
            mean = f"{100 * point.accuracy:.1f}"
            mark = "†" if (name, budget) in compared and compared[name, budget].certain else ""
            mean = f"**{mean}**" if point.accuracy == best[budget] else mean
            line.append(f"{mean} ± {50 * (point.high - point.low):.1f}{mark}")
        lines.append(line)
    return Table(["pruner", *map(budget_said, budgets)], lines)


def ranked(measured: Measured) -> list[str]:
    """Pruners by their accuracies summed over the budgets, best first: what was not measured counts as nothing."""
    total = {name: sum(measured.points[i].accuracy for i in measured.at(name)) for name in measured.pruners()}
    return sorted(total, key=lambda name: (-total[name], name))


def curve_numbers(found: Sequence[Summary], axis: Axis, ours: str) -> Table:
    """Whole curves over one cost: see `summaries.Summary`."""
    head = ["pruner", *(["AUC over log-budget"] if axis is TOKENS else []), "hypervolume", f"BD: cost of {ours}"]
    head += [f"its cost at {100 * level:.0f} % of full" for level in LEVELS]
    lines = []
    for one in found:
        line = [one.pruner, *([estimate(one.area, 100, ".1f")] if axis is TOKENS else [])]
        line += [estimate(one.hypervolume, 1, ".3f"), estimate(one.ours, 100, "+.1f", " %")]
        line += [estimate(one.speedup[level], 1, ".2f", " x") for level in LEVELS]
        lines.append(line)
    return Table(head, lines)


def budget_said(budget: str) -> str:
    """A row's budget for people: "10 %" or "64 tokens"."""
    parsed = Budget.parse(budget)
    return f"{parsed.tokens} tokens" if parsed.fraction is None else f"{float(100 * parsed.fraction):g} %"


def points(found: Comparison) -> str:
    """A difference in points with its interval."""
    return f"{100 * found.difference:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def estimate(found: Estimate, scale: float, form: str, unit: str = "") -> str:
    """A number with its interval: "-" is unknown, ∞ never reached."""
    if np.isnan(found.value):
        return "-"
    value, low, high = ("∞" if np.isinf(v) else f"{scale * v:{form}}" for v in (found.value, found.low, found.high))
    return f"{value}{unit}" + ("" if np.isnan(found.low) else f" [{low}, {high}]")


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"
