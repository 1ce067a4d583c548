"""How sure a number is: resampled items and training seeds, intervals, p-values, Holm's correction. Arrays only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

REPETITIONS = 20_000
_BLOCK = 500  # resamples at a time, which bounds the memory that thousands of items take


def resampled(
    scores: ArrayLike, rng: np.random.Generator, repetitions: int = REPETITIONS, images: ArrayLike | None = None
) -> Array:
    """Mean score of every method over resampled items, the same items for all methods: the pairing.

    Args:
        scores: (K, I), a method and training seed per row, an item per column.
        images: (I,), which image an item is about; images are drawn, each with all of its items. None: one per item.

    Returns:
        (R, K)
    """
    values = np.asarray(scores, dtype=float)
    sizes = np.ones(values.shape[1])  # (I,), items of an image
    if images is not None:
        _, image = np.unique(images, return_inverse=True)  # (I,)
        values, sizes = np.stack([np.bincount(image, row) for row in values]), np.bincount(image).astype(float)
    n = len(sizes)
    means = np.empty((repetitions, len(values)))  # (R, K)
    for start in range(0, repetitions, _BLOCK):
        rows = min(_BLOCK, repetitions - start)
        times = rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(float)  # (rows, n)
        means[start : start + rows] = times @ values.T / (times @ sizes)[:, None]
    return means


def seed_shares(seeds: int, rng: np.random.Generator, repetitions: int = REPETITIONS) -> Array:
    """What share each training seed has in each resample of the seeds, (R, S); one seed has all of it.

    A bootstrap's variance between S seeds is too small by (S - 1) / S, so shares are stretched about 1 / S.
    """
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=repetitions) / seeds
    return np.asarray(1 / seeds + (shares - 1 / seeds) * (seeds / max(1, seeds - 1)) ** 0.5)


def interval(draws: ArrayLike) -> tuple[float, float]:
    """The percentile interval of 95 % of draws (R,); infinite draws count, and with undefined ones there is none."""
    values = np.asarray(draws, dtype=float)
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5], method="inverted_cdf")  # which does not subtract infinities
    return float(low), float(high)


def student(value: float, variance: float, seeds: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """The interval of 95 % of a mean, and the two-sided p-value of its being zero.

    Student's t: part of the variance was estimated from a few training seeds, so that it may be far too small.
    Percentiles of resamples do not know that: where three seeds against three agree, they are certain at any level.

    Args:
        variance: of the value; its part from resampled items counts as known.
        seeds: the parts of it that were estimated from training seeds, and from how many.

    Returns:
        low, high, p. Degrees of freedom as Satterthwaite (Biometrics Bulletin 2, 1946) combines them.
    """
    from scipy.special import stdtr, stdtrit

    if variance <= 0:
        return value, value, float(value == 0)
    doubt = sum(part**2 / (count - 1) for part, count in seeds if count > 1)
    freedom = min(variance**2 / doubt, 1e9) if doubt else 1e9
    error = variance**0.5
    reach = float(stdtrit(freedom, 0.975)) * error
    return value - reach, value + reach, float(2 * stdtr(freedom, -abs(value) / error))


def holm(p: ArrayLike) -> Array:
    """Adjusted p-values (M,): below 5 % exactly where Holm's step-down test at 5 % rejects.

    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
