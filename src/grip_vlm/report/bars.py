"""Stacked bars of timed answers: one bar per pruner and budget, one colour per phase, one panel per batch size."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from grip_vlm.evaluation.timing import PHASES
from grip_vlm.report.escape import label
from grip_vlm.report.figures import save
from grip_vlm.report.timings import LIMITS, Timed

# Okabe and Ito's colours, which colour-blind readers can tell apart; neighbours differ in lightness.
COLOURS = dict(zip(PHASES, ("#b0b0b0", "#56b4e9", "#d55e00", "#e69f00", "#f0e442", "#0072b2", "#009e73"), strict=True))


def stacked_bars(entries: Sequence[Timed], vlm: str, path: Path) -> None:
    """Draw the medians of the phases on top of each other, and the spread of the whole answer as a whisker.

    Raises:
        ValueError: there are no entries, or the ending of `path` is none of a figure.
        OSError: it cannot be written.
    """
    batches = sorted({entry.batch for entry in entries})
    if not batches:
        raise ValueError("there are no times to draw")
    most = max(sum(entry.batch == batch for entry in entries) for batch in batches)
    figure = Figure(figsize=(2.4 + 4.2 * len(batches), 1.4 + 0.26 * most), dpi=150, layout="constrained")
    for axes, batch in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches, strict=True):
        shown = [entry for entry in entries if entry.batch == batch]
        places = range(len(shown))
        left = [0.0] * len(shown)
        for phase, colour in COLOURS.items():
            widths = [entry.phases[phase] for entry in shown]
            axes.barh(places, widths, left=left, color=colour, label=phase, height=0.75)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        spread = [[e.total - e.low for e in shown], [e.high - e.total for e in shown]]
        axes.errorbar([e.total for e in shown], places, xerr=spread, fmt="none", ecolor="black", lw=0.8, capsize=2)
        axes.set_yticks(places, [name(entry) for entry in shown], fontsize=8)
        for text, entry in zip(axes.get_yticklabels(), shown, strict=True):
            text.set_fontstyle("italic" if entry.pruner in LIMITS else "normal")
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("ms per question")
        axes.set_title(f"batch {batch}", loc="left", fontsize=10)
        axes.grid(axis="x", alpha=0.25)
    figure.suptitle(f"{label(vlm)}: where the time of an answer goes", fontsize=11)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(PHASES), fontsize=8, frameon=False)
    save(figure, path)


def name(entry: Timed) -> str:
    """The label of a bar; `full` has no budget."""
    return label(entry.pruner) if entry.pruner == "full" else f"{label(entry.pruner)} {entry.budget}"
