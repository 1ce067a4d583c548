"""rows -> frontier: accuracy over cost with paired intervals, as tables, figures and sentences. Never loads a model."""

from collections.abc import Sequence
from pathlib import Path

from grip_vlm.files import write_text
from grip_vlm.pareto import tables, verdict
from grip_vlm.pareto.comparisons import comparisons
from grip_vlm.pareto.measured import TOKENS, Flops, Measured, Point, measure
from grip_vlm.pareto.summaries import Summary, summaries
from grip_vlm.rows import Row, read_rows

__all__ = ["Flops", "Point", "figure", "points", "read_rows", "report", "table", "write"]


def points(rows: Sequence[Row]) -> list[Point]:
    """One point per pruner and budget, sorted by pruner and tokens kept."""
    return measure(rows).points


def table(rows: Sequence[Row], ours: str = "grip") -> str:
    """Markdown: every pruner and budget, with the paired difference of ours to each."""
    return _table(measure(rows), ours)


def figure(rows: Sequence[Row], path: Path, ours: str = "grip") -> None:
    """Accuracy over the share of tokens kept; PNG, or what the ending of `path` says."""
    from grip_vlm.pareto import figures

    figures.over(measure(rows), TOKENS, ours, path)


def write(paths: Sequence[Path], out: Path, table_path: Path) -> str:
    """Read rows, write figure and table, return the table."""
    rows = read_rows(paths)
    figure(rows, out)
    text = table(rows)
    write_text(table_path, text)
    return text


def _table(measured: Measured, ours: str) -> str:
    return tables.markdown(tables.detail(measured, comparisons(measured, ours), ours))


def report(rows: Sequence[Row], folder: Path, ours: str = "grip", flops: Flops | None = None) -> str:
    """Everything there is to say, into a folder; read its report.md first.

    report.md (sentences, accuracy by budget, curve numbers), table.md (every point), accuracy.tex and curves-COST.tex,
    COST.png and .svg (accuracy over tokens, FLOPs, seconds), tasks.png and .svg, frontier.html (interactive).

    Returns:
        The sentences.

    Raises:
        ValueError: `ours` was not measured.
    """
    from grip_vlm.pareto import figures, interactive

    measured = measure(rows, flops)
    if ours not in measured.pruners():
        raise ValueError(f"there are no rows of {ours!r} to compare; measured were {', '.join(measured.pruners())}")
    compared = comparisons(measured, ours)
    numbers = {axis: summaries(measured, axis, ours) for axis in measured.axes()}
    accuracy = tables.by_budget(measured, compared)
    said = _said(measured, compared, numbers, ours)
    write_text(folder / "report.md", said)
    return said
