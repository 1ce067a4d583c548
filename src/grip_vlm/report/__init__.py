"""Reports from rows: accuracy over cost with paired intervals, as tables, figures and sentences. Loads no model."""

from collections.abc import Sequence
from pathlib import Path

from grip_vlm.evaluation.rows import Row, read_rows
from grip_vlm.evaluation.timing import Timing
from grip_vlm.files import write_text
from grip_vlm.report import equal_accuracy, escape, metrics, tables, timings, verdict
from grip_vlm.report.comparisons import comparisons
from grip_vlm.report.measured import TOKENS, Measured, Point, measure, read_flops
from grip_vlm.report.summaries import curve_summaries

__all__ = ["Point", "measure", "metrics", "points", "read_rows", "table", "write", "write_report"]
__all__ += ["write_timings"]


OURS = "grip"  # the pruner that the others are compared with if nothing else is said


def points(rows: Sequence[Row]) -> list[Point]:
    """One point per pruner and budget, sorted by pruner and tokens kept."""
    return measure(rows).points


def table(rows: Sequence[Row], ours: str = OURS, timed: bool = True) -> str:
    """A Markdown table of every pruner and budget with the paired difference of ours to each.

    Seconds are shown if `timed`. Raises what `measure` raises.
    """
    return _table(measure(rows, timed=timed), ours)


def write(
    paths: Sequence[Path],
    out: Path | None = None,
    table_path: Path | None = None,
    folder: Path | None = None,
    ours: str = OURS,
    flops: Path | None = None,
) -> str:
    """Read rows and write the outputs that have a path.

    Args:
        paths: files or folders of rows.
        out: the figure.
        table_path: the Markdown table.
        folder: the report, see `write_report`.
        ours: the pruner that all others are compared with.
        flops: the file written by `grip-vlm flops`.

    Returns:
        The report's sentences if `folder` is given, else the table.

    Raises:
        ValueError: no output has a path, or the rows or FLOPs are unusable.
    """
    if not (out or table_path or folder):
        raise ValueError("nothing to write; give --out FIGURE.png, --table TABLE.md or --report FOLDER")
    rows = read_rows(paths)
    measured = measure(rows, read_flops(flops, rows[0].vlm) if flops else None)
    if ours != OURS:  # tables and figures of methods without grip are drawn without a comparison
        _refuse_unmeasured(measured, ours)
    text = _table(measured, ours) + metrics.markdown(rows)
    if out:
        _figure(measured, out, ours)
    if table_path:
        write_text(table_path, text)
    return write_report(measured, folder, ours) if folder else text


def write_timings(
    rows: Sequence[Timing], table_path: Path | None, figure: Path | None, accuracy: Sequence[Row], ours: str = OURS
) -> str:
    """The tables of timed answers; written, and drawn as stacked bars, where a path is given.

    Args:
        accuracy: rows of `evaluate`; with some, a table of the time at equal accuracy is added.

    Raises:
        ValueError: the rows of `evaluate` are of another VLM, or there is nothing to compare.
    """
    entries = timings.timed(rows)
    text = f"{timings.markdown(entries)}\n{timings.METHOD}"
    if accuracy:
        if accuracy[0].vlm != rows[0].vlm:
            raise ValueError(f"times are of {rows[0].vlm}, and accuracies of {accuracy[0].vlm}; give rows of one VLM")
        compared = equal_accuracy.markdown(measure(accuracy, timed=False).points, entries, ours)
        text = f"Time at equal accuracy, batch by batch:\n\n{compared}\n{text}"
    if figure:
        from grip_vlm.report import bars

        bars.stacked_bars(entries, rows[0].vlm, figure)
    if table_path:
        write_text(table_path, text)
    return text


def _refuse_unmeasured(measured: Measured, ours: str) -> None:
    if ours not in measured.pruners():
        raise ValueError(f"there are no rows of {ours!r} to compare; measured were {', '.join(measured.pruners())}")


def _table(measured: Measured, ours: str) -> str:
    return tables.markdown(tables.detail(measured, comparisons(measured, ours), ours))


def _figure(measured: Measured, path: Path, ours: str) -> None:
    from grip_vlm.report import figures

    figures.accuracy_over_cost(measured, TOKENS, ours, path)


def write_report(measured: Measured, folder: Path, ours: str = OURS) -> str:
    """Write the whole report into a folder.

    - report.md: sentences, accuracy by budget, numbers of whole curves.
    - table.md: every point. accuracy.tex: accuracy by budget.
    - COST.png, COST.svg and curves-COST.tex for every known cost: kept, flops, seconds.
    - tasks.png and tasks.svg: one panel per benchmark.
    - frontier.html: the interactive page.

    Returns:
        The sentences.

    Raises:
        ValueError: `ours` was not measured.
    """
    from grip_vlm.report import figures, interactive

    _refuse_unmeasured(measured, ours)
    compared = comparisons(measured, ours)
    accuracy = tables.accuracy_by_budget(measured, compared)
    sentences = [verdict.differences_by_budget(measured, compared, ours)]
    curves = []
    for axis in measured.axes():
        summaries = curve_summaries(measured, axis, ours)
        numbers = tables.curve_numbers(summaries, axis, ours)
        sentences += [verdict.on_frontier(measured, axis, ours), verdict.at_equal_accuracy(summaries, axis, ours)]
        curves.append(f"### Over {axis.name}\n\n![over {axis.name}]({axis.field}.svg)\n\n{tables.markdown(numbers)}")
        write_text(folder / f"curves-{axis.field}.tex", tables.latex(numbers))
        for ending in ("png", "svg"):
            figures.accuracy_over_cost(measured, axis, ours, folder / f"{axis.field}.{ending}")
    for ending in ("png", "svg"):
        figures.accuracy_by_benchmark(measured, ours, folder / f"tasks.{ending}")
    write_text(folder / "table.md", _table(measured, ours))
    write_text(folder / "accuracy.tex", tables.latex(accuracy))
    write_text(folder / "frontier.html", interactive.page(measured, compared, ours))
    text = "\n".join(sentences)
    by_budget = f"## Accuracy by budget\n\n{tables.markdown(accuracy)}\n![tasks](tasks.svg)\n"
    parts = [
        f"# {escape.markdown(measured.vlm)}: {escape.markdown(ours)} and the others\n",
        text,
        by_budget,
        "## Whole curves\n",
        *curves,
        verdict.METHOD,
    ]
    write_text(folder / "report.md", "\n".join(parts))
    return text
