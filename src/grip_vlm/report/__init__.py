"""rows -> frontier: accuracy over cost with paired intervals, as tables, figures and sentences. Never loads a model."""

from collections.abc import Sequence
from pathlib import Path

from grip_vlm.evaluation.rows import Row, read_rows
from grip_vlm.files import write_text
from grip_vlm.report import metrics, tables, verdict
from grip_vlm.report.comparisons import comparisons
from grip_vlm.report.measured import TOKENS, Measured, Point, measure, read_flops
from grip_vlm.report.summaries import summaries

__all__ = ["Point", "measure", "metrics", "points", "read_rows", "report", "table", "write"]


def points(rows: Sequence[Row]) -> list[Point]:
    """One point per pruner and budget, sorted by pruner and tokens kept."""
    return measure(rows).points


def table(rows: Sequence[Row], ours: str = "grip", timed: bool = True) -> str:
    """Markdown: every pruner and budget, with the paired difference of ours to each; the clocks if they are `timed`."""
    return _table(measure(rows, timed=timed), ours)


def write(
    paths: Sequence[Path],
    out: Path | None = None,
    table_path: Path | None = None,
    folder: Path | None = None,
    ours: str = "grip",
    flops: Path | None = None,
) -> str:
    """Read rows; write what a path is given for: the figure, the table, the report.

    Returns:
        The report's sentences if there is one, else the table.

    Raises:
        ValueError: no path is given, or rows or FLOPs cannot be used.
    """
    if not (out or table_path or folder):
        raise ValueError("nothing to write; give --out FIGURE.png, --table TABLE.md or --report FOLDER")
    rows = read_rows(paths)
    measured = measure(rows, read_flops(flops, rows[0].vlm) if flops else None)
    text = _table(measured, ours) + metrics.markdown(rows)
    if out:
        _figure(measured, out, ours)
    if table_path:
        write_text(table_path, text)
    return report(measured, folder, ours) if folder else text


def _table(measured: Measured, ours: str) -> str:
    return tables.markdown(tables.detail(measured, comparisons(measured, ours), ours))


def _figure(measured: Measured, path: Path, ours: str) -> None:
    from grip_vlm.report import figures

    figures.over(measured, TOKENS, ours, path)


def report(measured: Measured, folder: Path, ours: str = "grip") -> str:
    """Everything there is to say, into a folder; read its report.md first.

    report.md (sentences, accuracy by budget, curve numbers), table.md (every point), accuracy.tex, and for every cost
    (kept, flops, seconds) COST.png, COST.svg and curves-COST.tex; tasks.png and .svg; frontier.html (interactive).

    Returns:
        The sentences.

    Raises:
        ValueError: `ours` was not measured.
    """
    from grip_vlm.report import figures, interactive

    if ours not in measured.pruners():
        raise ValueError(f"there are no rows of {ours!r} to compare; measured were {', '.join(measured.pruners())}")
    compared = comparisons(measured, ours)
    accuracy = tables.by_budget(measured, compared)
    sentences = [verdict.by_budget(measured, compared, ours)]
    curves = []
    for axis in measured.axes():
        found = summaries(measured, axis, ours)
        numbers = tables.curve_numbers(found, axis, ours)
        sentences += [verdict.on_frontier(measured, axis, ours), verdict.at_equal_accuracy(found, axis, ours)]
        curves.append(f"### Over {axis.name}\n\n![over {axis.name}]({axis.field}.svg)\n\n{tables.markdown(numbers)}")
        write_text(folder / f"curves-{axis.field}.tex", tables.latex(numbers))
        for ending in ("png", "svg"):
            figures.over(measured, axis, ours, folder / f"{axis.field}.{ending}")
    for ending in ("png", "svg"):
        figures.tasks(measured, ours, folder / f"tasks.{ending}")
    write_text(folder / "table.md", _table(measured, ours))
    write_text(folder / "accuracy.tex", tables.latex(accuracy))
    write_text(folder / "frontier.html", interactive.page(measured, compared, ours))
    said = "\n".join(sentences)
    by_budget = f"## Accuracy by budget\n\n{tables.markdown(accuracy)}\n![tasks](tasks.svg)\n"
    parts = [
        f"# {measured.vlm}: {ours} and the others\n",
        said,
        by_budget,
        "## Whole curves\n",
        *curves,
        verdict.METHOD,
    ]
    write_text(folder / "report.md", "\n".join(parts))
    return said
