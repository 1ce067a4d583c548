"""Figures of accuracy over cost: ours and the best few pruners in colour, the others grey, every line labelled.

Colour-blind readers can tell the colours apart (Okabe and Ito, Color Universal Design, 2008). The markers differ too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grip_vlm.evaluation.rows import FIXED
from grip_vlm.files import new_file
from grip_vlm.report.coinciding import same_as
from grip_vlm.report.escape import label
from grip_vlm.report.measured import TOKENS, Axis, Measured
from grip_vlm.report.tables import ranked

COLOURS = (
    "#d55e00",
    "#0072b2",
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
)  # ours first; none that looks light grey to a colour-blind reader
MARKERS = "osD^vP"
GREY = "#b0b0b0"


def styles(measured: Measured, ours: str) -> dict[str, dict[str, Any]]:
    """pruner -> matplotlib options of its line; ours first, the others in the order of `ranked`."""
    names = sorted(ranked(measured), key=lambda name: name != ours)
    first = 0 if names and names[0] == ours else 1  # the first colour is reserved for ours
    options: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(names, start=first):
        if i < len(COLOURS):
            options[name] = {"color": COLOURS[i], "marker": MARKERS[i], "ms": 4.5, "lw": 1.5, "zorder": 3}
        else:
            options[name] = {"color": GREY, "marker": ".", "ms": 4, "lw": 0.8, "zorder": 2}
    if ours in options:
        options[ours] |= {"ms": 7, "lw": 2.6, "zorder": 4}
    return options


def over(style: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """The options of a line that coincides with another: dashes and rings, above the line that they would hide."""
    return {**style, "ls": (0, (3, 3)), "mfc": "none", "ms": style["ms"] + 3, "zorder": below["zorder"] + 0.1}


def accuracy_over_cost(measured: Measured, axis: Axis, ours: str, path: Path) -> None:
    """Accuracy over a cost: one line per pruner, 95 % bands for those in colour, labels at the lines' left ends."""
    figure = Figure(figsize=(8.2, 5.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    starts = {}
    options = styles(measured, ours)
    twins = same_as(measured, list(options), axis)
    for name, style in options.items():
        points = [measured.points[i] for i in measured.indices(name, axis)]
        if not points:
            continue
        x = [point.cost(axis) for point in points]
        if style["color"] != GREY:
            low, high = [100 * point.low for point in points], [100 * point.high for point in points]
            axes.fill_between(x, low, high, color=style["color"], alpha=0.13, lw=0)
        line = over(style, options[twins[name]]) if name in twins else style
        axes.plot(x, [100 * point.accuracy for point in points], **line)
        starts[name] = (x[0], 100 * points[0].accuracy, style["color"])
    _reference_lines(axes, {p.pruner: 100 * p.accuracy for p in measured.points if p.pruner in FIXED})
    for i in measured.indices("full", axis):
        axes.plot(measured.points[i].cost(axis), 100 * measured.points[i].accuracy, "*", ms=11, color="0.2", zorder=5)
    _scale_cost(axes, measured, axis)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_xlabel(f"{axis.name} ({axis.unit})")
    axes.set_ylabel("accuracy, macro mean (%)")
    axes.set_title(f"{label(measured.vlm)}: accuracy over {axis.name}", loc="left")
    axes.grid(alpha=0.25)
    _label_lines(axes, starts, twins, ours)
    save(figure, path)


def accuracy_by_benchmark(measured: Measured, ours: str, path: Path) -> None:
    """Accuracy over the tokens kept: one panel per benchmark and one legend."""
    names = list(measured.points[0].by_benchmark)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns + 1.6, 2.5 * rows + 0.6), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.remove()
    options = styles(measured, ours)
    for axes, benchmark in zip(grid, names, strict=False):
        twins = same_as(measured, list(options), benchmark=benchmark)
        for name, style in options.items():
            points = [measured.points[i] for i in measured.indices(name)]
            line = over(style, options[twins[name]]) if name in twins else style
            axes.plot(
                [point.cost(TOKENS) for point in points], [100 * p.by_benchmark[benchmark] for p in points], **line
            )
        fixed = {p.pruner: 100 * p.by_benchmark[benchmark] for p in measured.points if p.pruner in FIXED}
        _reference_lines(axes, fixed, labelled=axes is grid[0])
        _scale_cost(axes, measured, TOKENS)
        axes.set_title(label(benchmark), loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    figure.supxlabel(f"{TOKENS.name} ({TOKENS.unit})", fontsize=10)
    figure.supylabel("accuracy (%)", fontsize=10)
    if options:
        shown = {label(name) if style["color"] != GREY else "others": style for name, style in options.items()}
        lines = {name: Line2D([], [], **style) for name, style in shown.items()}
        figure.legend(lines.values(), lines.keys(), loc="outside right center", fontsize=8, frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the ending of `path`, or PNG. Equal figures give equal bytes.

    Raises:
        ValueError: the ending is none of a figure.
        OSError: it cannot be written.
    """
    kind = check_ending(path)
    with new_file(path) as beside, matplotlib.rc_context({"svg.hashsalt": "grip-vlm"}):
        figure.savefig(beside, format=kind, metadata={"Date": None} if kind == "svg" else None)


def check_ending(path: Path) -> str:
    """The format of a figure. Raises a ValueError if the ending is none of a figure."""
    kind = path.suffix.lstrip(".") or "png"
    if kind not in (known := Figure().canvas.get_supported_filetypes()):
        raise ValueError(f"{str(path)!r} is no figure: its ending must be one of {', '.join(sorted(known))}")
    return kind


def _reference_lines(axes: Axes, accuracies: dict[str, float], labelled: bool = True) -> None:
    """`full` as a dashed line and `blind` as a dotted line."""
    for name, accuracy in accuracies.items():
        axes.axhline(accuracy, color="0.35", ls="--" if name == "full" else ":", lw=1)
        if labelled:
            axes.annotate(
                name,
                (1, accuracy),
                (-3, 1),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )


def _scale_cost(axes: Axes, measured: Measured, axis: Axis) -> None:
    """A logarithmic cost axis. Over tokens, the ticks are the budgets."""
    axes.set_xscale("log")
    axes.minorticks_off()
    if axis is TOKENS:
        shares = [*measured.budgets().values(), *(measured.points[i].kept for i in measured.indices("full"))]
        ticks = sorted({round(100 * share) for share in shares} - {0})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        return
    low, high = axes.get_xlim()
    if high < 10 * low:  # too few powers of ten for ticks
        axes.xaxis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))


def _label_lines(axes: Axes, starts: dict[str, tuple[float, float, str]], twins: dict[str, str], ours: str) -> None:
    """Every line's name left of the axes, at the height of its left end. Names that would overlap are moved apart.

    The name of a line that coincides with another tells which.
    """
    if not starts:
        return
    low, high = axes.get_ylim()
    heights = spread([y for _, y, _ in starts.values()], (high - low) / 34, low, high)
    for (name, (x, y, colour)), height in zip(starts.items(), heights, strict=True):
        axes.annotate(
            label(name) + (f" = {label(twins[name])}" if name in twins else ""),
            (x, y),
            (-0.07, height),
            textcoords=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8,
            fontweight="bold" if name == ours else "normal",
            color="black" if colour != GREY else "#555555",
            arrowprops={
                "arrowstyle": "-",
                "relpos": (1, 0.5),
                "shrinkA": 2,
                "color": colour,
                "lw": 0.8,
                "ls": ":",
            },  # dotted, as no line of data is
        )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights close to the wanted ones, in the same order, at least `gap` apart.

    Overlapping heights are stacked around their mean until no stacks overlap. Stacks stay between `low` and `high` if
    there is space for all.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    stacks = [([i], wanted[i]) for i in order]

    def bottom(stack: tuple[list[int], float]) -> float:
        half = gap * (len(stack[0]) - 1) / 2
        return max(low, min(stack[1] - half, high - 2 * half))

    merged: list[tuple[list[int], float]] = []
    for stack in stacks:
        merged.append(stack)
        while len(merged) > 1 and bottom(merged[-2]) + gap * len(merged[-2][0]) > bottom(merged[-1]):
            upper, lower = merged.pop(), merged.pop()
            both = lower[0] + upper[0]
            merged.append((both, sum(wanted[i] for i in both) / len(both)))
    heights = [0.0] * len(wanted)
    for stack in merged:
        for step, i in enumerate(stack[0]):
            heights[i] = bottom(stack) + gap * step
    return heights
