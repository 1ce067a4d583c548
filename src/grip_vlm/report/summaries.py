"""Each pruner's whole curve in a few numbers with intervals: area, hypervolume, cost against ours at equal accuracy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grip_vlm.report.curves import bjontegaard, cost_at, hypervolume, log_area, log_cost
from grip_vlm.report.measured import TOKENS, Axis, Measured
from grip_vlm.report.statistics import Array, interval

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

REPETITIONS = 500  # of the resamples, for what is interpolated in each one by itself
LEVELS = (0.95, 0.99)  # of the accuracy with all tokens


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN where there is none. Costs are as measured: accuracy alone is resampled."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Summary:
    """One pruner's curve over one cost."""

    pruner: str
    area: Estimate
    """mean accuracy over log-budget; unknown unless all of the table's budgets, two at least, were measured"""
    hypervolume: Estimate
    """share of what lies between `blind` and `full` and the cheapest point and `full`; unknown without those two"""
    ours: Estimate
    """Bjontegaard: cost of ours relative to this one at equal accuracy, -0.5 being half of it"""
    speedup: dict[float, Estimate]
    """level -> its cost over that of ours, both where they reach this share of full's accuracy"""


def summaries(measured: Measured, axis: Axis, ours: str) -> list[Summary]:
    """One for every pruner with a known cost, largest hypervolume or area first."""
    names = [name for name in measured.pruners() if measured.at(name, axis)]
    mine = _log_costs(measured, axis, ours)
    found = [
        Summary(
            name,
            _area(measured, name) if axis is TOKENS else UNKNOWN,
            _hypervolume(measured, axis, name) if name != "full" else UNKNOWN,
            _estimate(*map(bjontegaard, mine, _log_costs(measured, axis, name))) if name != ours else UNKNOWN,
            {level: _speedup(measured, axis, ours, name, level) for level in LEVELS},
        )
        for name in [*names, *(["full"] if measured.at("full", axis) else [])]
    ]
    return sorted(found, key=lambda s: tuple(-np.nan_to_num([s.hypervolume.value, s.area.value])))


def _area(measured: Measured, name: str) -> Estimate:
    at = {measured.points[i].budget: i for i in measured.at(name)}
    budgets = measured.budgets()
    if len(budgets) < 2 or set(at) != set(budgets):
        return UNKNOWN
    index, share = [at[budget] for budget in budgets], list(budgets.values())
    accuracy = [measured.points[i].accuracy for i in index]
    return Estimate(float(log_area(share, accuracy)), *interval(log_area(share, measured.draws[:, index])))


def _hypervolume(measured: Measured, axis: Axis, name: str) -> Estimate:
    full, blind, at = measured.at("full", axis), measured.at("blind"), measured.at(name, axis)
    if not full or not blind:
        return UNKNOWN
    cost = [measured.points[i].cost(axis) for i in at]
    low = min(p.cost(axis) for p in measured.points if p.pruner != "blind" and np.isfinite(p.cost(axis)))
    high = measured.points[full[0]].cost(axis)

    def share(accuracy: Array) -> Array:
        bottom, top = accuracy[..., blind], accuracy[..., full]
        gain = (accuracy[..., at] - bottom) / np.where(top > bottom, top - bottom, np.nan)
        return hypervolume(cost, gain, low, high)

    if low >= high:
        return UNKNOWN
    return Estimate(float(share(_accuracies(measured))), *interval(share(measured.draws)))


def _log_costs(measured: Measured, axis: Axis, name: str) -> "list[PchipInterpolator | None]":
    """The measured curve, then one for each resample."""
    at = measured.at(name, axis)
    cost = [measured.points[i].cost(axis) for i in at]
    return [log_cost(cost, accuracy[at]) for accuracy in (_accuracies(measured), *measured.draws[:REPETITIONS])]


def _speedup(measured: Measured, axis: Axis, ours: str, name: str, level: float) -> Estimate:
    full, mine, theirs = measured.at("full"), measured.at(ours, axis), measured.at(name, axis)
    if not full or not mine or name == ours:
        return UNKNOWN
    costs = [[measured.points[i].cost(axis) for i in index] for index in (mine, theirs)]

    def ratio(accuracy: Array) -> float:
        wanted = level * accuracy[full[0]]
        own, other = (cost_at(wanted, c, accuracy[i]) for c, i in zip(costs, (mine, theirs), strict=True))
        return float("nan") if np.isinf(own) and np.isinf(other) else other / own

    return _estimate(*map(ratio, (_accuracies(measured), *measured.draws[:REPETITIONS])))


def _estimate(value: float, *draws: float) -> Estimate:
    return UNKNOWN if np.isnan(value) else Estimate(value, *interval(draws))


def _accuracies(measured: Measured) -> Array:
    return np.array([point.accuracy for point in measured.points])  # (P,)
