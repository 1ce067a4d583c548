"""The arithmetic of `auto_budget.py`: scores at every k and curves of rules -> certified thresholds, drops and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    def part(self, rows: Array) -> "Sweep":
        return replace(self, items=self.items[rows], tasks=self.tasks[rows], scores=self.scores[rows])


@dataclass(frozen=True)
class Outcome:
    """What Q questions lose and keep at T thresholds, from the safest, which keeps all tokens, to the cheapest."""

    losses: Array  # (Q, T) max(0, full - pruned)
    drops: Array  # (Q, T) full - pruned
    kept: Array  # (Q, T) tokens

    def part(self, rows: Array) -> "Outcome":
        return Outcome(self.losses[rows], self.drops[rows], self.kept[rows])


@dataclass(frozen=True)
class Trial:
    """One split into calibration and test: what the certified threshold does on the test half."""

    tokens: float
    """mean tokens kept"""
    drop: float
    """accuracy of the full model minus that of the pruned one"""
    loss: float
    """mean of max(0, full - pruned)"""


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


def certified(outcome: Outcome, max_drop: float, confidence: float | None) -> int:
    """The cheapest certified threshold; without a confidence, by conformal risk control. Nothing certified keeps all."""
    if confidence is None:
        index = conformal_risk_control(outcome.losses, max_drop)
    else:
        index = learn_then_test(outcome.losses, max_drop, confidence)
    return index or 0


def trials(
    outcome: Outcome, settings: Sequence[tuple[float, float | None]], splits: int, seed: int = 0
) -> dict[tuple[float, float | None], list[Trial]]:
    """Random halves: calibrate on one, measure on the other. (max drop, confidence) -> one trial per split.

    All rules see the same splits.
    """
    rng = np.random.default_rng(seed)
    count = len(outcome.losses)
    results: dict[tuple[float, float | None], list[Trial]] = {setting: [] for setting in settings}
    for _ in range(splits):
        order = rng.permutation(count)
        calibration, test = outcome.part(order[: count // 2]), outcome.part(order[count // 2 :])
        for setting in settings:
            results[setting].append(measured(test, certified(calibration, *setting)))
    return results


def measured(outcome: Outcome, index: int) -> Trial:
    """The means at one threshold."""
    columns = (outcome.kept[:, index], outcome.drops[:, index], outcome.losses[:, index])
    return Trial(*(float(column.mean()) for column in columns))


def share(hits: int, draws: int, level: float = 0.95) -> tuple[float, float, float]:
    """A share with its exact (Clopper-Pearson) interval."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, draws - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, draws - hits)) if hits < draws else 1.0
    return hits / draws, low, high


def at_mean(outcome: Outcome, tokens: float) -> int:
    """The threshold with the most tokens whose mean is at most `tokens`."""
    means = outcome.kept.mean(0)
    return int(np.flatnonzero(means <= tokens)[means[means <= tokens].argmax()])
