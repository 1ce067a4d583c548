"""Each pruner's curve in a few numbers with intervals: area, hypervolume, cost relative to ours at equal accuracy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grip_vlm.report.curves import bjontegaard, cost_at, hypervolume, log_area, log_cost
from grip_vlm.report.measured import TOKENS, Axis, Measured
from grip_vlm.report.statistics import Array, percentile_interval

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

CURVE_RESAMPLES = 500  # resamples used for numbers that interpolate every resample separately, which is slow
LEVELS = (0.95, 0.99)  # shares of the full model's accuracy


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, NaN if unknown. Accuracies are resampled; costs are taken as measured."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class CurveSummary:
    """One pruner's curve over one cost."""

    pruner: str
    area: Estimate
    """Mean accuracy over log-budget. Unknown unless all budgets of the table, at least two, were measured."""
    hypervolume: Estimate
    """Dominated share of the rectangle from `blind` to `full` in accuracy and from the cheapest point to `full` in log
    cost. Unknown without `full` and `blind`."""
    bjontegaard: Estimate
    """Relative cost difference of ours to this pruner at equal accuracy; -0.5 means that ours costs half as much."""
    cost_ratio: dict[float, Estimate]
    """Level -> this pruner's cost divided by the cost of ours, each at this share of the full model's accuracy."""


def curve_summaries(measured: Measured, axis: Axis, ours: str) -> list[CurveSummary]:
    """One summary for every pruner with a known cost, sorted by hypervolume, then area, largest first."""
    names = [name for name in measured.pruners() if measured.indices(name, axis)]
    our_curves = _log_costs(measured, axis, ours)
    summaries = [
        CurveSummary(
            name,
            _area(measured, name) if axis is TOKENS else UNKNOWN,
            _hypervolume(measured, axis, name) if name != "full" else UNKNOWN,
            _estimate(*map(bjontegaard, our_curves, _log_costs(measured, axis, name))) if name != ours else UNKNOWN,
            {level: _cost_ratio(measured, axis, ours, name, level) for level in LEVELS},
        )
        for name in [*names, *(["full"] if measured.indices("full", axis) else [])]
    ]
    return sorted(summaries, key=lambda s: tuple(-np.nan_to_num([s.hypervolume.value, s.area.value])))


def _area(measured: Measured, name: str) -> Estimate:
    by_budget = {measured.points[i].budget: i for i in measured.indices(name)}
    budgets = measured.budgets()
    if len(budgets) < 2 or set(by_budget) != set(budgets):
        return UNKNOWN
    index, share = [by_budget[budget] for budget in budgets], list(budgets.values())
    accuracy = [measured.points[i].accuracy for i in index]
    resamples = log_area(share, measured.resamples[:, index])
    return Estimate(float(log_area(share, accuracy)), *percentile_interval(resamples))


def _hypervolume(measured: Measured, axis: Axis, name: str) -> Estimate:
    full, blind, index = measured.indices("full", axis), measured.indices("blind"), measured.indices(name, axis)
    if not full or not blind:
        return UNKNOWN
    cost = [measured.points[i].cost(axis) for i in index]
    low = min(p.cost(axis) for p in measured.points if p.pruner != "blind" and np.isfinite(p.cost(axis)))
    high = measured.points[full[0]].cost(axis)

    def share(accuracy: Array) -> Array:
        bottom, top = accuracy[..., blind], accuracy[..., full]
        gain = (accuracy[..., index] - bottom) / np.where(top > bottom, top - bottom, np.nan)
        return hypervolume(cost, gain, low, high)

    if low >= high:
        return UNKNOWN
    return Estimate(float(share(_accuracies(measured))), *percentile_interval(share(measured.resamples)))


def _log_costs(measured: Measured, axis: Axis, name: str) -> "list[PchipInterpolator | None]":
    """The measured curve, then the curve of each resample."""
    index = measured.indices(name, axis)
    cost = [measured.points[i].cost(axis) for i in index]
    resamples = measured.resamples[:CURVE_RESAMPLES]
    return [log_cost(cost, accuracy[index]) for accuracy in (_accuracies(measured), *resamples)]


def _cost_ratio(measured: Measured, axis: Axis, ours: str, name: str, level: float) -> Estimate:
    full, curves = measured.indices("full"), (measured.indices(ours, axis), measured.indices(name, axis))
    if not full or not curves[0] or name == ours:
        return UNKNOWN
    costs = [[measured.points[i].cost(axis) for i in index] for index in curves]

    def ratio(accuracy: Array) -> float:
        target = level * accuracy[full[0]]
        our_cost, cost = (cost_at(target, c, accuracy[i]) for c, i in zip(costs, curves, strict=True))
        return float("nan") if np.isinf(our_cost) and np.isinf(cost) else cost / our_cost

    return _estimate(*map(ratio, (_accuracies(measured), *measured.resamples[:CURVE_RESAMPLES])))


def _estimate(value: float, *resamples: float) -> Estimate:
    return UNKNOWN if np.isnan(value) else Estimate(value, *percentile_interval(resamples))


def _accuracies(measured: Measured) -> Array:
    return np.array([point.accuracy for point in measured.points])  # (P,)
