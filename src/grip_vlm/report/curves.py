"""One number for a whole accuracy/cost curve: area, hypervolume, Bjontegaard difference, cost at equal accuracy."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grip_vlm.report.statistics import Array

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator


def frontier(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.intp]:
    """Indices of the points to which nothing as cheap or cheaper is equal, cheapest first; cost and accuracy (P,)."""
    costs, accuracies = np.asarray(cost, dtype=float), np.asarray(accuracy, dtype=float)
    order = np.lexsort((-accuracies, costs))
    best = np.maximum.accumulate(np.r_[-np.inf, accuracies[order]])
    return order[accuracies[order] > best[:-1]]


def log_area(share: ArrayLike, accuracy: ArrayLike) -> Array:
    """AUC over log-budget: the mean accuracy over log(share), straight between the budgets.

    Args:
        share: (B,), of the tokens, increasing, two at least.
        accuracy: (..., B)

    Returns:
        (...), in the units of accuracy.
    """
    x, y = np.log(np.asarray(share, dtype=float)), np.asarray(accuracy, dtype=float)
    area = ((y[..., 1:] + y[..., :-1]) / 2 * np.diff(x)).sum(-1)
    return np.asarray(area / (x[-1] - x[0]))


def hypervolume(cost: ArrayLike, gain: ArrayLike, low: float, high: float) -> Array:
    """The share of the rectangle [log low, log high] x [0, 1] that the points dominate.

    The staircase of Zitzler and Thiele, IEEE Trans. Evol. Comp. 3 (1999), with the reference point (high, 0); the
    logarithm and both scales are ours: gain is 0 without the image and 1 with all tokens, `high` what the latter cost.

    Args:
        cost: (B,), none below low; what costs more than high dominates nothing.
        gain: (..., B); negative ones dominate nothing, and one above 1 no more than 1.
    """
    order = np.argsort(cost)
    edges = np.log(np.r_[np.asarray(cost, dtype=float)[order], high].clip(max=high) / low) / np.log(high / low)
    best = np.maximum.accumulate(np.asarray(gain, dtype=float)[..., order].clip(0, 1), axis=-1)
    return np.asarray((best * np.diff(edges)).sum(-1))


def log_cost(cost: ArrayLike, accuracy: ArrayLike) -> "PchipInterpolator | None":
    """The logarithm of the cost as a monotone function of the accuracy, along the frontier of the points (B,).

    Returns:
        None where the frontier has less than two points.
    """
    from scipy.interpolate import PchipInterpolator

    best = frontier(cost, accuracy)
    if len(best) < 2:
        return None
    return PchipInterpolator(np.asarray(accuracy, dtype=float)[best], np.log(np.asarray(cost, dtype=float)[best]))


def bjontegaard(ours: "PchipInterpolator | None", theirs: "PchipInterpolator | None") -> float:
    """How much more our curve costs than theirs at equal accuracy, both from `log_cost`: -0.5 is half, everywhere.

    The mean difference of log cost over the accuracies that both reach, taken out of the logarithm (Bjontegaard,
    VCEG-M33, 2001; interpolated piecewise as in JCTVC-L1100, 2013).

    Returns:
        NaN where one is None, or no accuracy of one is in the other's range.
    """
    if ours is None or theirs is None:
        return float("nan")
    low, high = max(ours.x[0], theirs.x[0]), min(ours.x[-1], theirs.x[-1])
    if low >= high:
        return float("nan")
    return float(np.expm1((ours.integrate(low, high) - theirs.integrate(low, high)) / (high - low)))


def cost_at(accuracy: float, cost: ArrayLike, accuracies: ArrayLike) -> float:
    """The least cost at which a method reaches `accuracy`: log-linear between the points (B,) of its frontier.

    Returns:
        Infinity if it never does; nothing below the cheapest point: no extrapolation.
    """
    best = frontier(cost, accuracies)
    costs, reached = np.asarray(cost, dtype=float)[best], np.asarray(accuracies, dtype=float)[best]
    if accuracy > reached[-1]:
        return float("inf")
    return float(np.exp(np.interp(accuracy, reached, np.log(costs))))
