"""rows -> frontier: accuracy over cost with paired intervals, as a figure and a table. Never loads a model."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grip_vlm import summary
from grip_vlm.evaluate import FIXED, Row, read
from grip_vlm.resume import write_text

REPETITIONS = 2000
# Seven colours of Okabe and Ito, which colour-blind readers tell apart, and two more; the markers differ as well.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f", "#8c6d31")
MARKERS = "osD^vPX<>"


@dataclass(frozen=True)
class Point:
    """One pruner at one budget."""

    pruner: str
    budget: str
    kept: float
    """share of the visual tokens"""
    accuracy: float
    """macro mean over benchmarks"""
    low: float
    high: float
    """95 % interval, items resampled within benchmarks and seeds averaged"""
    by_benchmark: dict[str, float]
    seconds: float
    """median per item"""


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """Rows of all files.

    Raises:
        ValueError: a file is missing, empty or not rows.
    """
    rows: list[Row] = []
    for path in paths:
        if not path.is_file():
            raise ValueError(f"no rows at {str(path)!r}; `grip-vlm evaluate --out {path}` makes them")
        rows += read(path)[0]
    if not rows:
        raise ValueError(f"there are no rows in {', '.join(map(str, paths))}")
    models = sorted({row.vlm for row in rows})
    if len(models) > 1:
        raise ValueError(f"rows of several VLMs ({', '.join(models)}) do not go into one table; give them one by one")
    return rows


Scores = dict[str, NDArray[np.float64]]  # benchmark -> score per item, checkpoints and seeds averaged


def scores_of(rows: Sequence[Row]) -> dict[tuple[str, str], Scores]:
    """(pruner, budget) -> benchmark -> scores in the order of item names."""
    cells: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        cells[row.pruner, row.budget][row.benchmark].setdefault(row.item, []).append(row.score)
    return {
        key: {name: np.array([np.mean(items[i]) for i in sorted(items)]) for name, items in sorted(names.items())}
        for key, names in cells.items()
    }


def macro(scores: Scores) -> float:
    return float(np.mean([values.mean() for values in scores.values()]))


def bootstrap(scores: Scores, rng: np.random.Generator) -> NDArray[np.float64]:
    """Macro means of REPETITIONS resamples of the items within each benchmark, (REPETITIONS,)."""
    means = []
    for values in scores.values():
        picked = rng.integers(0, len(values), (REPETITIONS, len(values)))
        means.append(values[picked].mean(1))
    return np.asarray(np.mean(means, axis=0))


def paired_difference(ours: Scores, theirs: Scores, seed: int = 0) -> tuple[float, float, float]:
    """Macro difference and its 95 % interval by a paired bootstrap over items.

    Raises:
        ValueError: the two were not measured on the same items.
    """
    if {n: len(v) for n, v in ours.items()} != {n: len(v) for n, v in theirs.items()}:
        raise ValueError("paired comparison needs the same items on both sides")
    difference = {name: ours[name] - theirs[name] for name in ours}
    low, high = np.percentile(bootstrap(difference, np.random.default_rng(seed)), [2.5, 97.5])
    return macro(difference), float(low), float(high)


def points(rows: Sequence[Row]) -> list[Point]:
    """One point per pruner and budget, sorted by pruner and budget."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.pruner, row.budget].append(row)
    out = []
    for (pruner, budget), scores in scores_of(rows).items():
        low, high = np.percentile(bootstrap(scores, np.random.default_rng(0)), [2.5, 97.5])
        here = groups[pruner, budget]
        kept = float(np.mean([row.kept / row.tokens for row in here]))
        seconds = float(np.median([row.seconds for row in here]))
        by = {name: float(values.mean()) for name, values in scores.items()}
        out.append(Point(pruner, budget, kept, macro(scores), float(low), float(high), by, seconds))
    return sorted(out, key=lambda point: (point.pruner, point.kept))


def table(rows: Sequence[Row]) -> str:
    """Markdown: every pruner and budget, with the paired difference of `grip` to each."""
    cells, measured = scores_of(rows), points(rows)
    items: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        items[row.pruner, row.budget].add(row.item)
    full = next((point.accuracy for point in measured if point.pruner == "full"), None)
    names = sorted({name for point in measured for name in point.by_benchmark})
    head = ["pruner", "budget", "kept", "accuracy", "95 % interval", "of full", "grip minus this", *names, "ms"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for point in sorted(measured, key=lambda p: (-p.kept, -p.accuracy)):
        ours = cells.get(("grip", point.budget))
        difference = "-"
        if ours is not None and point.pruner != "grip":
            if items["grip", point.budget] != items[point.pruner, point.budget]:
                raise ValueError(f"comparing grip with {point.pruner} at {point.budget} needs the same items of both")
            mean, low, high = paired_difference(ours, cells[point.pruner, point.budget])
            difference = f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        of_full = "-" if not full else f"{100 * point.accuracy / full:.1f} %"
        tasks = [f"{100 * point.by_benchmark.get(name, float('nan')):.1f}" for name in names]
        line = [point.pruner, point.budget, f"{100 * point.kept:.1f} %", f"{100 * point.accuracy:.1f}"]
        line += [f"{100 * point.low:.1f} to {100 * point.high:.1f}", of_full, difference, *tasks]
        lines.append("| " + " | ".join([*line, f"{1000 * point.seconds:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


def frontier(measured: Sequence[Point]) -> list[Point]:
    """The points no other point beats in both kept tokens and accuracy, cheapest first."""
    best, out = -1.0, []
    for point in sorted(measured, key=lambda p: (p.kept, -p.accuracy)):
        if point.accuracy > best:
            best = point.accuracy
            out.append(point)
    return out


def figure(rows: Sequence[Row], path: Path) -> None:
    """Accuracy over the share of tokens kept, one line per pruner with its interval, full and blind as levels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = points(rows)
    drawn, axes = pyplot.subplots(figsize=(7.2, 4.4), dpi=150)
    order = sorted({p.pruner for p in measured} - set(FIXED), key=lambda name: (name != "grip", name))
    for i, name in enumerate(order):
        mine = [point for point in measured if point.pruner == name]
        x, y = [100 * p.kept for p in mine], [100 * p.accuracy for p in mine]
        strong = name == "grip"
        colour = PALETTE[i % len(PALETTE)]
        axes.fill_between(x, [100 * p.low for p in mine], [100 * p.high for p in mine], color=colour, alpha=0.12)
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(x, y, marker=marker, lw=2.6 if strong else 1.4, ms=7 if strong else 5, color=colour, label=name)
    for point in measured:
        if point.pruner in FIXED:
            axes.axhline(100 * point.accuracy, color="0.35", ls="--" if point.pruner == "full" else ":", lw=1)
            axes.annotate(
                point.pruner, (1, 100 * point.accuracy), xycoords=("axes fraction", "data"), va="bottom", ha="right"
            )
    axes.set_xscale("log")
    # `downsample` keeps at most what the budget allows; ticks stand at the budgets.
    widest = {p.budget: p.kept for p in sorted(measured, key=lambda p: p.kept) if p.pruner not in FIXED}
    ticks = sorted({round(100 * kept) for kept in widest.values()} - {0})
    axes.set_xticks(ticks, [f"{tick} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("visual tokens kept")
    axes.set_ylabel("accuracy, macro mean (%)")
    axes.set_title(f"{rows[0].vlm}: accuracy over cost", loc="left")
    axes.grid(alpha=0.25)
    if order:
        axes.legend(fontsize=8, ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.tight_layout()
    beside = path.with_name(f".{path.name}")
    drawn.savefig(beside, format=path.suffix.lstrip(".") or "png")
    beside.replace(path)
    pyplot.close(drawn)


def write(paths: Sequence[Path], out: Path, table_path: Path) -> str:
    """Read rows, write figure and table with the benchmarks' own metrics, return the table."""
    rows = read_rows(paths)
    figure(rows, out)
    text = table(rows) + summary.tables(rows)
    write_text(table_path, text)
    return text
