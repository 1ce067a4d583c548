"""One number for a whole accuracy/cost curve: area, hypervolume, Bjontegaard difference, cost at equal accuracy."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grip_vlm.report.statistics import Array

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator


def frontier(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Indices of the points that are more accurate than every other point of at most their cost, cheapest first.

    Of equal points the first counts, so that costs and accuracies increase; `undominated` has all.

    Args:
        cost, accuracy: (P,)
    """
    costs, accuracies = np.asarray(cost, dtype=float), np.asarray(accuracy, dtype=float)
    order = np.lexsort((-accuracies, costs))
    best = np.maximum.accumulate(np.r_[-np.inf, accuracies[order]])
    return order[accuracies[order] > best[:-1]]


def undominated(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Indices of the points on the frontier, cheapest first: no point is better in one and as good in the other.

    Equal points are on it together. Accuracies that differ by less than 1e-9 are equal.

    Args:
        cost, accuracy: (P,)
    """
    costs, accuracies = np.asarray(cost, dtype=float), np.asarray(accuracy, dtype=float).round(9)
    best = frontier(costs, accuracies)
    on_it = {(costs[i], accuracies[i]) for i in best}
    equal = [i for i, point in enumerate(zip(costs, accuracies, strict=True)) if point in on_it]
    return np.array(sorted(equal, key=lambda i: costs[i]), dtype=np.intp)


def log_area(share: ArrayLike, accuracy: ArrayLike) -> Array:
    """AUC over log-budget: the mean accuracy over log(share), linear between the budgets.

    Args:
        share: (B,) of the tokens kept, increasing, at least two.
        accuracy: (..., B)

    Returns:
        (...) in the unit of accuracy.
    """
    x, y = np.log(np.asarray(share, dtype=float)), np.asarray(accuracy, dtype=float)
    area = ((y[..., 1:] + y[..., :-1]) / 2 * np.diff(x)).sum(-1)
    return np.asarray(area / (x[-1] - x[0]))


def hypervolume(cost: ArrayLike, gain: ArrayLike, low: float, high: float) -> Array:
    """The share of the rectangle [log low, log high] x [0, 1] that the points dominate.

    The staircase of Zitzler and Thiele, IEEE Trans. Evol. Comp. 3 (1999), with the reference point (high, 0). The
    logarithm and both scales are ours. The gain is 0 without the image and 1 with all tokens; `high` is the cost of all
    tokens.

    Args:
        cost: (B,) at least `low`. Points that cost more than `high` dominate nothing.
        gain: (..., B), clipped to [0, 1].

    Returns:
        (...) in [0, 1].
    """
    order = np.argsort(cost)
    edges = np.log(np.r_[np.asarray(cost, dtype=float)[order], high].clip(max=high) / low) / np.log(high / low)
    best = np.maximum.accumulate(np.asarray(gain, dtype=float)[..., order].clip(0, 1), axis=-1)
    return np.asarray((best * np.diff(edges)).sum(-1))


def log_cost(cost: ArrayLike, accuracy: ArrayLike) -> "PchipInterpolator | None":
    """Log cost as a monotone function of accuracy, interpolated along the frontier of the points (B,).

    Returns:
        None if the frontier has fewer than two points.
    """
    from scipy.interpolate import PchipInterpolator

    best = frontier(cost, accuracy)
    if len(best) < 2:
        return None
    return PchipInterpolator(np.asarray(accuracy, dtype=float)[best], np.log(np.asarray(cost, dtype=float)[best]))


def bjontegaard(ours: "PchipInterpolator | None", theirs: "PchipInterpolator | None") -> float:
    """The relative cost difference of our curve to theirs at equal accuracy: -0.5 means that ours costs half as much.

    It is exp(mean difference of log cost over the accuracies that both reach) - 1 (Bjontegaard, VCEG-M33, 2001;
    piecewise interpolation as in JCTVC-L1100, 2013).

    Args:
        ours, theirs: from `log_cost`.

    Returns:
        NaN if a curve is None or the accuracy ranges do not overlap.
    """
    if ours is None or theirs is None:
        return float("nan")
    low, high = max(ours.x[0], theirs.x[0]), min(ours.x[-1], theirs.x[-1])
    if low >= high:
        return float("nan")
    return float(np.expm1((ours.integrate(low, high) - theirs.integrate(low, high)) / (high - low)))


def cost_at(accuracy: float, cost: ArrayLike, accuracies: ArrayLike) -> float:
    """The lowest cost at which a method reaches `accuracy`, log-linear between the points (B,) of its frontier.

    Returns:
        Infinity if it never reaches it. Never less than the cost of the cheapest point: there is no extrapolation.
    """
    best = frontier(cost, accuracies)
    costs, reached = np.asarray(cost, dtype=float)[best], np.asarray(accuracies, dtype=float)[best]
    if accuracy > reached[-1]:
        return float("inf")
    return float(np.exp(np.interp(accuracy, reached, np.log(costs))))
