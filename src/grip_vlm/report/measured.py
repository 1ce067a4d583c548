"""Rows -> points: accuracy and cost of every pruner at every budget, and their bootstrap resamples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from grip_vlm import strict_json
from grip_vlm.evaluation.rows import FIXED, Row
from grip_vlm.report.statistics import RESAMPLES, Array, resampled_means, seed_shares, student_interval

Flops = Mapping[str, Mapping[str, float]]  # pruner -> budget -> FLOPs of an answer


@dataclass(frozen=True)
class Axis:
    """A cost: the field of `Point` that holds it, and its name and unit in reports."""

    field: str
    name: str
    unit: str
    scale: float
    """Factor from the field's value to the unit."""


TOKENS = Axis("kept", "visual tokens kept", "%", 100)
FLOPS = Axis("flops", "FLOPs per answer", "GFLOP", 1e-9)
SECONDS = Axis("seconds", "measured time per question", "ms", 1000)


@dataclass(frozen=True)
class Point:
    """One pruner at one budget."""

    pruner: str
    budget: str
    kept: float
    """Share of the visual tokens, mean over items and layers."""
    accuracy: float
    """Macro mean over benchmarks, averaged over training seeds, in [0, 1]."""
    low: float
    high: float
    """95 % interval over images within benchmarks and over training seeds (`statistics.student_interval`)."""
    by_benchmark: dict[str, float]
    seconds: float
    """Median per item; NaN if the rows are not timed."""
    seeds: int = 1
    seed_variance: float = 0.0
    """Part of the accuracy's variance that is due to training seeds; 0 for a single seed."""
    flops: float | None = None
    """FLOPs of one answer; None if they were not counted."""
    evidence_recall: float | None = None
    """Mean over items within benchmarks, then over benchmarks; None if no row knows it."""

    def cost(self, axis: Axis) -> float:
        """The cost in the axis's unit; NaN if unknown."""
        value: float | None = getattr(self, axis.field)
        return float("nan") if value is None else value * axis.scale


class Measured(NamedTuple):
    """Points and their bootstrap resamples."""

    vlm: str
    points: list[Point]
    """Sorted by pruner and tokens kept."""
    resamples: Array
    """(R, P) accuracy of every point in every bootstrap resample. A resample has the same items for all points."""

    def axes(self) -> list[Axis]:
        """The costs that at least one point has."""
        return [axis for axis in (TOKENS, FLOPS, SECONDS) if np.isfinite([p.cost(axis) for p in self.points]).any()]

    def pruners(self) -> list[str]:
        """Pruners with budgets: all but `full` and `blind`."""
        return sorted({point.pruner for point in self.points} - set(FIXED))

    def indices(self, pruner: str, axis: Axis = TOKENS) -> list[int]:
        """Indices of a pruner's points with a known cost, cheapest first."""
        known = [i for i, p in enumerate(self.points) if p.pruner == pruner and np.isfinite(p.cost(axis))]
        return sorted(known, key=lambda i: self.points[i].cost(axis))

    def budgets(self) -> dict[str, float]:
        """budget -> the largest share of the tokens that a pruner keeps at it, smallest first."""
        ordered = sorted((p for p in self.points if p.pruner not in FIXED), key=lambda p: p.kept)
        largest = {point.budget: point.kept for point in ordered}
        return dict(sorted(largest.items(), key=lambda item: item[1]))


def read_flops(path: Path, vlm: str) -> Flops:
    """The FLOPs that `grip-vlm flops` wrote for this VLM.

    Raises:
        ValueError: the file is missing, holds something else, or is about another VLM.
    """
    command = f"`grip-vlm flops --vlm {vlm} --out {path}` writes one"
    try:
        content = strict_json.parse(b"".join(strict_json.lines(path, 2**24)))
        counted_vlm = str(content["vlm"])
        flops = {str(name): dict(by_budget) for name, by_budget in content["flops"].items()}
        for name, number in ((name, number) for name, counted in flops.items() for number in counted.values()):
            if type(number) not in (int, float) or not 0 < number < float("inf"):
                raise ValueError(f"{name}: FLOPs must be numbers above 0, not {number!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold FLOPs ({error!r}); {command}") from error
    if counted_vlm != vlm:
        raise ValueError(f"{path} has the FLOPs of {counted_vlm}, the rows are of {vlm}; {command}")
    if not flops:
        raise ValueError(f"{path} does not hold FLOPs of any pruner; {command}")
    return flops


def run_of(row: Row) -> str:
    """The training run of a row: its checkpoint, or the seed of an untrained method."""
    return row.checkpoint or str(row.seed)


class _Column(NamedTuple):
    """One pruner at one budget with one training seed."""

    pruner: str
    budget: str
    run: str


def measure(rows: Sequence[Row], flops: Flops | None = None, timed: bool = True) -> Measured:
    """Points and their bootstrap resamples.

    Each resample samples the images of every benchmark with replacement, each with all of its items. All points share
    the images. It also samples each pruner's training seeds. The pruner's points with the same seeds share them.

    Args:
        flops: a further cost.
        timed: whether the rows' seconds are meaningful, because nothing else ran on the machine.

    Raises:
        ValueError: there are no rows, or they do not have the same items for every pruner and budget.
    """
    if not rows:
        raise ValueError("there are no rows; `grip-vlm evaluate` writes them")
    columns = sorted({_Column(row.pruner, row.budget, run_of(row)) for row in rows})
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)  # (pruner, budget) -> columns, contiguous
    for k, column in enumerate(columns):
        cells[column.pruner, column.budget].append(k)
    starts = [members[0] for members in cells.values()]
    sizes = np.array([len(members) for members in cells.values()])
    shares = _seed_shares(columns, cells)
    means, resamples = {}, np.zeros((RESAMPLES, len(cells)))  # (R, P)
    by_column = np.zeros(len(columns))  # (K,)
    images = _images(rows)
    for number, (benchmark, scores) in enumerate(_scores(rows, columns).items()):
        accuracy = scores.mean(1)  # (K,)
        means[benchmark] = np.add.reduceat(accuracy, starts) / sizes  # (P,)
        by_column += accuracy
        resampled = resampled_means(scores, np.random.default_rng((0, number)), images=images[benchmark])  # (R, K)
        resamples += np.add.reduceat(resampled * shares, starts, axis=1)
    resamples /= len(means)
    macro = np.mean(list(means.values()), axis=0)
    points = []
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.pruner, row.budget].append(row)
    for i, (pruner, budget) in enumerate(cells):
        point_rows, by_seed = grouped[pruner, budget], by_column[cells[pruner, budget]] / len(means)  # (S,)
        seed_variance = float(by_seed.var(ddof=1) / len(by_seed)) if len(by_seed) > 1 else 0.0
        seed_parts = [(seed_variance, len(by_seed))]
        low, high, _ = student_interval(float(macro[i]), float(resamples[:, i].var()), seed_parts)
        points.append(
            Point(
                pruner,
                budget,
                # Rounded, because summation errors must not make one method cheaper than another.
                kept=round(float(np.mean([row.kept / row.tokens for row in point_rows])), 9),
                accuracy=float(macro[i]),
                low=max(low, 0.0),
                high=min(high, 1.0),
                by_benchmark={name: float(values[i]) for name, values in means.items()},
                seconds=float(np.median([row.seconds for row in point_rows])) if timed else float("nan"),
                seeds=int(sizes[i]),
                seed_variance=seed_variance,
                flops=(flops or {}).get(pruner, {}).get(budget),
                evidence_recall=_evidence_recall(point_rows),
            )
        )
    order = sorted(range(len(points)), key=lambda i: (points[i].pruner, points[i].kept))
    return Measured(rows[0].vlm, [points[i] for i in order], resamples[:, order])


def _evidence_recall(rows: Sequence[Row]) -> float | None:
    """Macro mean over the benchmarks whose rows know it."""
    known: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.evidence_recall is not None:
            known[row.benchmark].append(row.evidence_recall)
    return float(np.mean([np.mean(values) for values in known.values()])) if known else None


def _scores(rows: Sequence[Row], columns: Sequence[_Column]) -> dict[str, Array]:
    """benchmark -> scores (K, I). Several rows of one item and seed are averaged.

    Raises:
        ValueError: a column lacks an item.
    """
    number = {column: k for k, column in enumerate(columns)}
    names: dict[str, dict[str, int]] = defaultdict(dict)
    for benchmark, item in sorted({(row.benchmark, row.item) for row in rows}):
        names[benchmark][item] = len(names[benchmark])
    sums = {benchmark: np.zeros((len(columns), len(items))) for benchmark, items in names.items()}
    counts = {benchmark: np.zeros((len(columns), len(items))) for benchmark, items in names.items()}
    for row in rows:
        cell = number[_Column(row.pruner, row.budget, run_of(row))], names[row.benchmark][row.item]
        sums[row.benchmark][cell] += row.score
        counts[row.benchmark][cell] += 1
    for benchmark, count in counts.items():
        for column, missing in zip(columns, (count == 0).sum(1), strict=True):
            if missing:
                raise ValueError(
                    f"a table needs the same items for all, and {column.pruner} at {column.budget} ({column.run})"
                    f" lacks {missing} of {count.shape[1]} items of {benchmark}; evaluate it with the same benchmarks"
                    " and --limit"
                )
    return {benchmark: sums[benchmark] / counts[benchmark] for benchmark in sums}


def _images(rows: Sequence[Row]) -> dict[str, list[str]]:
    """benchmark -> the image of each of its items, in the order of `_scores`."""
    known: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.image_id or (row.benchmark, row.item) not in known:
            known[row.benchmark, row.item] = row.image_id or row.item
    images: dict[str, list[str]] = defaultdict(list)
    for (benchmark, _), image in sorted(known.items()):
        images[benchmark].append(image)
    return images


def _seed_shares(columns: Sequence[_Column], cells: Mapping[tuple[str, str], Sequence[int]]) -> Array:
    """The share of each column in its point, in each resample of the training seeds, (R, K)."""
    rng = np.random.default_rng(1)
    shares = np.empty((RESAMPLES, len(columns)))  # (R, K)
    by_seeds: dict[tuple[str, ...], Array] = {}
    for (pruner, _), members in cells.items():
        seeds = pruner, *(columns[k].run for k in members)
        if seeds not in by_seeds:
            by_seeds[seeds] = seed_shares(len(members), rng)
        shares[:, members] = by_seeds[seeds]
    return shares
