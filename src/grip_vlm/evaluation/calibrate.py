"""Calibration: the cheapest threshold of a grid whose loss of accuracy is small with a stated confidence. Arrays only.

A threshold gives every question a budget. Its loss on a question is what pruning costs there,

    loss = max(0, score of the answer from all tokens - score of the answer from the pruned tokens)

in [0, 1]. The mean of this loss is at least the drop in accuracy: answers that pruning corrects do not make up for
answers that it spoils. A bound on the mean therefore bounds the drop as well, and is conservative for it.
`learn_then_test(signed=True)` tests the mean of full - pruned in [-1, 1] itself, the drop in accuracy.

`learn_then_test` bounds the mean loss with a confidence over the draw of the calibration questions (Angelopoulos et
al., Learn then Test, arXiv 2110.01052). `conformal_risk_control` bounds only its expectation over that draw
(Angelopoulos et al., Conformal Risk Control, arXiv 2208.02814). Both assume that the questions of the calibration and
those that are answered later are independent draws of one distribution. Questions about one image are not independent:
give the mean loss of each image as one row.
"""

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-9  # a sum of n losses that is this close above a whole number counts as that number


def paired_losses(full: ArrayLike, pruned: ArrayLike) -> Array:
    """max(0, full - pruned).

    Args:
        full: (n,) scores in [0, 1] of the answers from all tokens.
        pruned: (n, T) scores in [0, 1] of the answers at T thresholds.

    Returns:
        (n, T) losses in [0, 1].

    Raises:
        ValueError: the shapes do not fit, or a score is outside [0, 1].
    """
    reference, scores = np.asarray(full, dtype=float), np.asarray(pruned, dtype=float)
    if reference.ndim != 1 or scores.ndim != 2 or len(reference) != len(scores):
        raise ValueError(f"scores must be (n,) and (n, T), not {reference.shape} and {scores.shape}")
    for values in (reference, scores):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("scores must be between 0 and 1")
    return np.asarray(np.maximum(0, reference[:, None] - scores))


def learn_then_test(losses: ArrayLike, max_drop: float, confidence: float, *, signed: bool = False) -> int | None:
    """The cheapest threshold of which P(its mean loss exceeds max_drop) <= 1 - confidence holds, or None.

    Fixed-sequence testing: thresholds are tested from the safest on, each at the full level, until the first that
    fails. The last that passes is returned, so the guarantee holds for the returned threshold although it is chosen on
    the same questions.

    Args:
        losses: (n, T) in [0, 1], thresholds ordered from the safest to the cheapest. The order must not depend on
            these losses.
        max_drop: the mean loss to stay below, in (0, 1).
        confidence: in (0, 1).
        signed: losses are full - pruned, in [-1, 1].

    Raises:
        ValueError: an argument is outside its range.
    """
    level = 1 - _share("confidence", confidence)
    p = betting(losses, max_drop, level) if signed else p_values(losses, max_drop)
    return _last(p <= level)


def conformal_risk_control(losses: ArrayLike, max_drop: float) -> int | None:
    """The cheapest threshold whose expected loss on a new question is at most max_drop, or None.

    It is the last threshold of which (sum of losses + 1) / (n + 1) <= max_drop holds. The method needs losses that rise
    with the threshold. Where a question's loss falls, its running maximum stands in for it.

    Args:
        losses: as in `learn_then_test`.
        max_drop: in (0, 1).

    Raises:
        ValueError: an argument is outside its range.
    """
    rising = np.maximum.accumulate(_checked(losses), axis=1)  # (n, T)
    passed = (rising.sum(0) + 1) / (len(rising) + 1) <= _share("max_drop", max_drop)
    return _last(passed)


def p_values(losses: ArrayLike, max_drop: float) -> Array:
    """Valid p-values of the hypotheses that the mean loss of a threshold exceeds max_drop: (n, T) -> (T,).

    Exact binomial tails where all losses are 0 or 1, else Hoeffding-Bentkus.

    Raises:
        ValueError: a loss is outside [0, 1], there is none, or max_drop is not in (0, 1).
    """
    values, drop = _checked(losses), _share("max_drop", max_drop)
    sums = values.sum(0)  # (T,)
    if ((values == 0) | (values == 1)).all():
        return binomial(sums, len(values), drop)
    return hoeffding_bentkus(sums, len(values), drop)


def binomial(sums: ArrayLike, n: int, mean: float) -> Array:
    """The p-value of "the mean is at least this" from the sum of n losses of 0 or 1: P(Binomial(n, mean) <= sum)."""
    from scipy.special import bdtr

    return np.asarray(bdtr(np.floor(np.asarray(sums, dtype=float) + ROUNDING), n, mean))


def hoeffding_bentkus(sums: ArrayLike, n: int, mean: float) -> Array:
    """The p-value of "the mean is at least this" from the sum of n losses in [0, 1].

        min( exp(-n h(min(average, mean), mean)),  e P(Binomial(n, mean) <= ceil(sum)) )
        h(a, b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b))

    Source: Bates, Angelopoulos, Lei, Malik & Jordan, Distribution-free, risk-controlling prediction sets
    (arXiv 2101.02703), from Hoeffding (1963) and Bentkus (2004).
    """
    from scipy.special import bdtr, rel_entr

    total = np.asarray(sums, dtype=float)
    average = np.minimum(total / n, mean)
    hoeffding = np.exp(-n * (rel_entr(average, mean) + rel_entr(1 - average, 1 - mean)))
    bentkus = math.e * bdtr(np.ceil(total - ROUNDING), n, mean)
    return np.asarray(np.minimum(hoeffding, bentkus))


def betting(drops: ArrayLike, mean: float, level: float, seed: int = 0) -> Array:
    """The p-value of "the mean is at least this" from n values in [-1, 1], (n, T) -> (T,).

    A gambler who starts with 1 bets a share b_t against the hypothesis, before value t is seen:

        capital_t = capital_(t-1) (1 + b_t (mean - value_t)),    p = 1 / the highest capital

    Under the hypothesis the capital is a non-negative supermartingale, so p is valid by Ville's inequality whatever the
    bets. These are sqrt(2 log(1 / level) / (n v_(t-1))), at most 1/2, with v the variance of the values so far: the
    predictable plug-in of Waudby-Smith & Ramdas (Estimating means of bounded random variables by betting,
    arXiv 2010.09686). It gains where the variance is small, as it is where few answers change.

    Args:
        level: the level that the bets are best for. The p-value is valid at all levels.
        seed: values are seen in a random order, as those of one benchmark often stand together.

    Raises:
        ValueError: a value is outside [-1, 1], there is none, or mean or level is not in (0, 1).
    """
    values = _checked(drops, lowest=-1)
    bound, log_level = _share("mean", mean), math.log(_share("level", level))
    values = values[np.random.default_rng(seed).permutation(len(values))]
    t = np.arange(1, len(values) + 1)[:, None]
    centres = (0.5 * bound + values.cumsum(0)) / (t + 0.5)  # (n, T) as if half a value had been seen before
    variances = (0.125 + ((values - centres) ** 2).cumsum(0)) / (t + 0.5)
    before = np.concatenate([np.full_like(values[:1], 0.25), variances[:-1]])
    bets = np.minimum(np.sqrt(-2 * log_level / (len(values) * before)), 0.5)
    capital = np.log1p(bets * (bound - values)).cumsum(0)  # logarithms
    return np.asarray(np.exp(-np.maximum(capital.max(0), 0)))


def fewest(max_drop: float, confidence: float, signed: bool = False) -> int:
    """How many losses `learn_then_test` needs at least: with fewer, no threshold passes even without any loss.

    Raises:
        ValueError: an argument is not in (0, 1).
    """
    level = 1 - _share("confidence", confidence)
    if not signed:
        return math.ceil(math.log(level) / math.log1p(-_share("max_drop", max_drop)) - ROUNDING)
    least = math.ceil(-math.log(level) / math.log1p(_share("max_drop", max_drop) / 2))  # by the largest bets alone
    return next(n for n in itertools.count(least) if betting(np.zeros((n, 1)), max_drop, level)[0] <= level)


def _last(passed: NDArray[np.bool_]) -> int | None:
    """The last index before the first that did not pass, or None."""
    count = len(passed) if passed.all() else int(passed.argmin())
    return count - 1 if count else None


def _checked(losses: ArrayLike, lowest: int = 0) -> Array:
    values = np.asarray(losses, dtype=float)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"losses must be (questions, thresholds), at least one of each, not {values.shape}")
    if not ((values >= lowest) & (values <= 1)).all():
        raise ValueError(f"losses must be between {lowest} and 1")
    return values


def _share(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1 and neither of them, got {value}")
    return value
