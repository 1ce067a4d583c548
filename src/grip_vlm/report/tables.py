"""Tables in Markdown and LaTeX: every point in detail, accuracy by budget, numbers of whole curves."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grip_vlm.budget import Budget
from grip_vlm.report import escape
from grip_vlm.report.comparisons import Comparison
from grip_vlm.report.measured import FLOPS, SECONDS, TOKENS, Axis, Measured
from grip_vlm.report.summaries import LEVELS, CurveSummary, Estimate

Compared = dict[tuple[str, str], Comparison]


class Table(NamedTuple):
    """Cells of text. The first column holds names, the others numbers."""

    head: list[str]
    lines: list[list[str]]


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""
    rule = "|---|" + "--:|" * (len(table.head) - 1)
    head = [escape.markdown(name) for name in table.head]
    lines = [[escape.markdown(line[0]), *line[1:]] for line in table.lines]
    rows = ["| " + " | ".join(cells) + " |" for cells in (head, *lines)]
    return "\n".join([rows[0], rule, *rows[1:]]) + "\n"


def latex(table: Table) -> str:
    """A `tabular` with the rules of `booktabs`. Markdown's **bold** becomes bold."""
    head = [escape.latex(name) for name in table.head]
    lines = [[escape.latex(line[0]), *map(_number_in_latex, line[1:])] for line in table.lines]
    rows = [" & ".join(cells) + r" \\" for cells in (head, *lines)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}"
    return "\n".join([begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def _number_in_latex(text: str) -> str:
    bold = re.fullmatch(r"\*\*(.+?)\*\*(.*)", text)
    if bold:
        return rf"\textbf{{{_number_in_latex(bold[1])}}}{_number_in_latex(bold[2])}"
    for sign, command in {"%": r"\%", "∞": r"$\infty$", "±": r"$\pm$", "†": r"\rlap{$^\dagger$}"}.items():
        text = text.replace(sign, command)
    return text


def detail(measured: Measured, compared: Compared, ours: str) -> Table:
    """Every pruner and budget, with the difference of ours to it and the corrected p-value.

    The recall of evidence, in %, stands beside the accuracy where rows know it.
    """
    full = next((point.accuracy for point in measured.points if point.pruner == "full"), None)
    names = list(measured.points[0].by_benchmark)
    costs = [axis for axis in (FLOPS, SECONDS) if axis in measured.axes()]
    knows_evidence = any(point.evidence_recall is not None for point in measured.points)
    head = [
        "pruner",
        "budget",
        "kept",
        "accuracy",
        *(["evidence"] if knows_evidence else []),
        "95 % interval",
        "seeds",
        "of full",
        f"{ours} minus this",
    ]
    lines = []
    for point in sorted(measured.points, key=lambda p: (-p.kept, -p.accuracy)):
        line = [point.pruner, point.budget, f"{100 * point.kept:.1f} %", f"{100 * point.accuracy:.1f}"]
        line += [_percent(point.evidence_recall)] if knows_evidence else []
        line += [f"{100 * point.low:.1f} to {100 * point.high:.1f}", str(point.seeds)]
        line += [f"{100 * point.accuracy / full:.1f} %" if full else "-"]
        comparison = compared.get((point.pruner, point.budget))
        line += [difference_text(comparison), f"{comparison.p:.2g}"] if comparison else ["-", "-"]
        line += [f"{100 * point.by_benchmark[name]:.1f}" for name in names]
        line += [_number(point.cost(axis)) for axis in costs]
        lines.append(line)
    return Table([*head, "p (Holm)", *names, *(axis.unit for axis in costs)], lines)


def accuracy_by_budget(measured: Measured, compared: Compared) -> Table:
    """One pruner per line, best first, and one budget per column. A cell is accuracy ± half the interval's width.

    Both are in percentage points. The best accuracy of a column is bold. † marks a difference to ours that is
    significant at 5 % after Holm's correction.
    """
    budgets = measured.budgets()
    by_cell = {(point.pruner, point.budget): point for point in measured.points}
    best = {b: max(p.accuracy for p in measured.points if p.budget == b) for b in budgets}
    lines = []
    for name in ranked(measured):
        line = [name]
        for budget in budgets:
            point = by_cell.get((name, budget))
            if point is None:
                line.append("-")
                continue
            mean = f"{100 * point.accuracy:.1f}"
            mark = "†" if (name, budget) in compared and compared[name, budget].significant else ""
            mean = f"**{mean}**" if point.accuracy == best[budget] else mean
            line.append(f"{mean} ± {50 * (point.high - point.low):.1f}{mark}")
        lines.append(line)
    return Table(["pruner", *map(budget_text, budgets)], lines)


def ranked(measured: Measured) -> list[str]:
    """Pruners by the sum of their accuracies over the budgets, best first. A budget that was not measured adds 0."""
    total = {name: sum(measured.points[i].accuracy for i in measured.indices(name)) for name in measured.pruners()}
    return sorted(total, key=lambda name: (-total[name], name))


def curve_numbers(summaries: Sequence[CurveSummary], axis: Axis, ours: str) -> Table:
    """Whole curves over one cost: see `summaries.CurveSummary`."""
    head = ["pruner", *(["AUC over log-budget"] if axis is TOKENS else []), "hypervolume", f"BD: cost of {ours}"]
    head += [f"its cost at {100 * level:.0f} % of full" for level in LEVELS]
    lines = []
    for summary in summaries:
        line = [summary.pruner, *([estimate_text(summary.area, 100, ".1f")] if axis is TOKENS else [])]
        line += [estimate_text(summary.hypervolume, 1, ".3f"), estimate_text(summary.bjontegaard, 100, "+.1f", " %")]
        line += [estimate_text(summary.cost_ratio[level], 1, ".2f", " x") for level in LEVELS]
        lines.append(line)
    return Table(head, lines)


def budget_text(budget: str) -> str:
    """A row's budget as text for reports: "10 %", "64 tokens" or a goal as it is written."""
    parsed = Budget.parse(budget)
    if parsed.goal is not None:
        return str(parsed)
    return f"{parsed.tokens} tokens" if parsed.fraction is None else f"{float(100 * parsed.fraction):g} %"


def difference_text(comparison: Comparison) -> str:
    """A difference in percentage points with its interval."""
    low, high = f"{100 * comparison.low:+.1f}", f"{100 * comparison.high:+.1f}"
    return f"{100 * comparison.difference:+.1f} [{low}, {high}]"


def estimate_text(estimate: Estimate, scale: float, form: str, unit: str = "") -> str:
    """A number with its interval. "-" means unknown, ∞ means never reached."""
    if np.isnan(estimate.value):
        return "-"
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = ("∞" if np.isinf(number) else f"{scale * number:{form}}" for number in numbers)
    return f"{value}{unit}" + ("" if np.isnan(estimate.low) else f" [{low}, {high}]")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"
