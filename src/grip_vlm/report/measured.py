"""Rows -> points: the accuracy and cost of every pruner at every budget, and what each is when data is drawn again."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from grip_vlm.evaluation.rows import FIXED, Row
from grip_vlm.report.statistics import REPETITIONS, Array, resampled, seed_shares, student

Flops = Mapping[str, Mapping[str, float]]  # pruner -> budget -> FLOPs of an answer


@dataclass(frozen=True)
class Axis:
    """A cost: the field of `Point` that holds it, and how people read it."""

    field: str
    name: str
    unit: str
    scale: float
    """from the field to the unit"""


TOKENS = Axis("kept", "visual tokens kept", "%", 100)
FLOPS = Axis("flops", "FLOPs per answer", "GFLOP", 1e-9)
SECONDS = Axis("seconds", "measured time per question", "ms", 1000)


@dataclass(frozen=True)
class Point:
    """One pruner at one budget."""

    pruner: str
    budget: str
    kept: float
    """share of the visual tokens"""
    accuracy: float
    """macro mean over benchmarks, training seeds averaged"""
    low: float
    high: float
    """95 % interval: images resampled within benchmarks, and training seeds (`statistics.student`)"""
    by_benchmark: dict[str, float]
    seconds: float
    """median per item; NaN where the clocks say nothing"""
    seeds: int = 1
    seed_variance: float = 0.0
    """of the accuracy, as far as training seeds make it; 0 where there is one"""
    flops: float | None = None
    """of an answer, where they were counted"""

    def cost(self, axis: Axis) -> float:
        """In the unit of the axis; NaN if unknown."""
        value: float | None = getattr(self, axis.field)
        return float("nan") if value is None else value * axis.scale


class Measured(NamedTuple):
    """Everything that rows say, and how much of it is chance."""

    vlm: str
    points: list[Point]
    """sorted by pruner and tokens kept"""
    draws: Array
    """(R, P): the accuracy of every point in every resample; items are the same for all points of a resample"""

    def axes(self) -> list[Axis]:
        """The costs that are known: tokens, and what some point has."""
        return [axis for axis in (TOKENS, FLOPS, SECONDS) if np.isfinite([p.cost(axis) for p in self.points]).any()]

    def pruners(self) -> list[str]:
        """Those that have budgets: without `full` and `blind`."""
        return sorted({point.pruner for point in self.points} - set(FIXED))

    def at(self, pruner: str, axis: Axis = TOKENS) -> list[int]:
        """Indices of a pruner's points with a known cost, cheapest first."""
        known = [i for i, p in enumerate(self.points) if p.pruner == pruner and np.isfinite(p.cost(axis))]
        return sorted(known, key=lambda i: self.points[i].cost(axis))

    def budgets(self) -> dict[str, float]:
        """budget -> share of the tokens it allows, smallest first: the most that any pruner keeps."""
        ordered = sorted((p for p in self.points if p.pruner not in FIXED), key=lambda p: p.kept)
        widest = {point.budget: point.kept for point in ordered}
        return dict(sorted(widest.items(), key=lambda item: item[1]))


def read_flops(path: Path, vlm: str) -> Flops:
    """What `grip-vlm flops` wrote for this VLM.

    Raises:
        ValueError: there is no such file, it is something else, or it is of another VLM.
    """
    again = f"`grip-vlm flops --vlm {vlm} --out {path}` makes one"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        counted, flops = str(told["vlm"]), {str(name): dict(of) for name, of in told["flops"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold FLOPs ({error!r}); {again}") from error
    if counted != vlm:
        raise ValueError(f"{path} has the FLOPs of {counted}, the rows are of {vlm}; {again}")
    return flops


def run_of(row: Row) -> str:
    """What is a training seed: the checkpoint, or the seed of a method that is not trained."""
    return row.checkpoint or str(row.seed)


class _Column(NamedTuple):
    """One pruner at one budget with one training seed."""

    pruner: str
    budget: str
    run: str


def measure(rows: Sequence[Row], flops: Flops | None = None, timed: bool = True) -> Measured:
    """Points and their resamples.

    `timed` says that the rows' clocks mean something: that nothing else ran beside them.

    Each resample draws the images of every benchmark with replacement, each with all of its items, the same for all
    points, and each pruner's training seeds, the same for all of its points with those seeds.

    Raises:
        ValueError: there are no rows, or some have not been measured on the same items as the others.
    """
    if not rows:
        raise ValueError("there are no rows to measure; `grip-vlm evaluate` makes them")
    columns = sorted({_Column(row.pruner, row.budget, run_of(row)) for row in rows})
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)  # columns of a point, which stand together
    for k, column in enumerate(columns):
        cells[column.pruner, column.budget].append(k)
    starts = [at[0] for at in cells.values()]
    sizes = np.array([len(at) for at in cells.values()])
    shares = _shares(columns, cells)
    means, draws = {}, np.zeros((REPETITIONS, len(cells)))  # (R, P)
    by_column = np.zeros(len(columns))  # (K,)
    images = _images(rows)
    for number, (benchmark, scores) in enumerate(_scores(rows, columns).items()):
        right = scores.mean(1)  # (K,)
        means[benchmark] = np.add.reduceat(right, starts) / sizes  # (P,)
        by_column += right
        drawn = resampled(scores, np.random.default_rng((0, number)), images=images[benchmark])  # (R, K)
        draws += np.add.reduceat(drawn * shares, starts, axis=1)
    draws /= len(means)
    macro = np.mean(list(means.values()), axis=0)
    points = []
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.pruner, row.budget].append(row)
    for i, (pruner, budget) in enumerate(cells):
        here, of_seeds = grouped[pruner, budget], by_column[cells[pruner, budget]] / len(means)  # (S,)
        varied = float(of_seeds.var(ddof=1) / len(of_seeds)) if len(of_seeds) > 1 else 0.0
        low, high, _ = student(float(macro[i]), float(draws[:, i].var()), [(varied, len(of_seeds))])
        points.append(
            Point(
                pruner,
                budget,
                # Rounded: a sum of more rows is off by more, which must not make one method cheaper than another.
                kept=round(float(np.mean([row.kept / row.tokens for row in here])), 9),
                accuracy=float(macro[i]),
                low=max(low, 0.0),
                high=min(high, 1.0),
                by_benchmark={name: float(values[i]) for name, values in means.items()},
                seconds=float(np.median([row.seconds for row in here])) if timed else float("nan"),
                seeds=int(sizes[i]),
                seed_variance=varied,
                flops=(flops or {}).get(pruner, {}).get(budget),
            )
        )
    order = sorted(range(len(points)), key=lambda i: (points[i].pruner, points[i].kept))
    return Measured(rows[0].vlm, [points[i] for i in order], draws[:, order])


def _scores(rows: Sequence[Row], columns: Sequence[_Column]) -> dict[str, Array]:
    """benchmark -> scores (K, I), a seed's several rows of an item averaged."""
    place = {column: k for k, column in enumerate(columns)}
    names: dict[str, dict[str, int]] = defaultdict(dict)
    for benchmark, item in sorted({(row.benchmark, row.item) for row in rows}):
        names[benchmark][item] = len(names[benchmark])
    sums = {benchmark: np.zeros((len(columns), len(items))) for benchmark, items in names.items()}
    counts = {benchmark: np.zeros((len(columns), len(items))) for benchmark, items in names.items()}
    for row in rows:
        at = place[_Column(row.pruner, row.budget, run_of(row))], names[row.benchmark][row.item]
        sums[row.benchmark][at] += row.score
        counts[row.benchmark][at] += 1
    for benchmark, seen in counts.items():
        for column, missing in zip(columns, (seen == 0).sum(1), strict=True):
            if missing:
                of = f"{missing} of {seen.shape[1]} items of {benchmark}"
                raise ValueError(
                    f"a table needs the same items for all, and {column.pruner} at {column.budget} ({column.run})"
                    f" lacks {of}; evaluate it with the same benchmarks and --limit"
                )
    return {benchmark: sums[benchmark] / counts[benchmark] for benchmark in sums}


def _images(rows: Sequence[Row]) -> dict[str, list[str]]:
    """benchmark -> which image each of its items is about, in the order of `_scores`."""
    known: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.image_id or (row.benchmark, row.item) not in known:
            known[row.benchmark, row.item] = row.image_id or row.item
    images: dict[str, list[str]] = defaultdict(list)
    for (benchmark, _), image in sorted(known.items()):
        images[benchmark].append(image)
    return images


def _shares(columns: Sequence[_Column], cells: Mapping[tuple[str, str], Sequence[int]]) -> Array:
    """What share of its point each column has in each resample of the training seeds, (R, K)."""
    rng = np.random.default_rng(1)
    shares = np.empty((REPETITIONS, len(columns)))  # (R, K)
    drawn: dict[tuple[str, ...], Array] = {}
    for (pruner, _), at in cells.items():
        seeds = pruner, *(columns[k].run for k in at)
        if seeds not in drawn:
            drawn[seeds] = seed_shares(len(at), rng)
        shares[:, at] = drawn[seeds]
    return shares
