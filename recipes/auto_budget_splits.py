"""The arithmetic of `auto_budget.py`: scores at every k, curves of rules -> certified thresholds, drops, tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grip_vlm.evaluation.calibrate import conformal_risk_control, learn_then_test, paired_losses

Array = NDArray[Any]


@dataclass(frozen=True)
class Sweep:
    """Questions answered from every number of tokens in `ks`; the last is all of them."""

    items: Array  # (Q,) text
    tasks: Array  # (Q,) text
    ks: Array  # (K,) ascending
    scores: Array  # (Q, K) in [0, 1]


@dataclass(frozen=True)
class Outcome:
    """What Q questions lose and keep at T thresholds, from the safest, which keeps all tokens, to the cheapest."""

    losses: Array  # (Q, T) max(0, full - pruned)
    drops: Array  # (Q, T) full - pruned
    kept: Array  # (Q, T) tokens


@dataclass(frozen=True)
class Goal:
    """What is to be certified."""

    drop: float
    """largest loss of accuracy"""
    confidence: float | None = None
    """over the draw of the calibration; None for conformal risk control, which bounds the mean over it"""
    signed: bool = False
    """test the drop itself, not the loss that does not count corrected answers"""


@dataclass(frozen=True)
class Trial:
    """One split into calibration and test: what the certified threshold does on the test half."""

    tokens: float
    """mean tokens kept"""
    drop: float
    """accuracy of the full model minus that of the pruned one"""
    loss: float
    """mean of max(0, full - pruned)"""
    bounded: float
    """mean over all questions, both halves, of what was tested: the truth that the certificate is about"""


def outcome(sweep: Sweep, places: Array) -> Outcome:
    """Places (Q, T) in `sweep.ks` of the budgets at T thresholds -> losses, drops and tokens."""
    full = sweep.scores[:, -1]
    pruned = np.take_along_axis(sweep.scores, places, axis=1)  # (Q, T)
    return Outcome(paired_losses(full, pruned), full[:, None] - pruned, sweep.ks[places])


def places_of(adequacy: Array, thresholds: Array) -> Array:
    """The place of the least k whose adequacy (Q, K) reaches each of T falling thresholds: (Q, 1 + T).

    The first column keeps all tokens.
    """
    q, k = adequacy.shape
    below = np.stack([(adequacy[:, :-1] < t).sum(1) for t in thresholds], axis=1)  # curves rise, so a count is a place
    return np.concatenate([np.full((q, 1), k - 1), below], axis=1)


def certified(outcome: Outcome, goal: Goal, rows: Array | slice = slice(None)) -> int:
    """The cheapest threshold that these questions certify, 0 if there is none."""
    if goal.confidence is None:
        index = conformal_risk_control(outcome.losses[rows], goal.drop)
    else:
        values = outcome.drops[rows] if goal.signed else outcome.losses[rows]
        index = learn_then_test(values, goal.drop, goal.confidence, signed=goal.signed)
    return index or 0


def trials(outcome: Outcome, goals: Sequence[Goal], splits: int, seed: int = 0) -> dict[Goal, list[Trial]]:
    """Random halves: calibrate on one, measure on the other. One trial per goal and split.

    All rules see the same splits.
    """
    rng = np.random.default_rng(seed)
    count = len(outcome.losses)
    results: dict[Goal, list[Trial]] = {goal: [] for goal in goals}
    for _ in range(splits):
        order = rng.permutation(count)
        calibration, test = order[: count // 2], order[count // 2 :]
        for goal in goals:
            index = certified(outcome, goal, calibration)
            results[goal].append(measured(outcome, index, goal, test))
    return results


def measured(outcome: Outcome, index: int, goal: Goal, rows: Array | slice = slice(None)) -> Trial:
    """The means at one threshold over some of the questions."""
    tested = outcome.drops if goal.signed else outcome.losses
    columns = outcome.kept[rows, index], outcome.drops[rows, index], outcome.losses[rows, index], tested[:, index]
    return Trial(*(float(column.mean()) for column in columns))


def share(hits: int, draws: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share with its exact (Clopper-Pearson) interval."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, draws - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, draws - hits)) if hits < draws else 1.0
    return hits / draws, low, high


def at_mean(outcome: Outcome, tokens: float) -> int | None:
    """The threshold with the most tokens whose mean is at most `tokens`; None if all have more."""
    means = outcome.kept.mean(0)
    within = np.flatnonzero(means <= tokens)
    return int(within[means[within].argmax()]) if len(within) else None
