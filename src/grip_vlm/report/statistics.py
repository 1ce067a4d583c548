"""Uncertainty: bootstrap over items and training seeds, intervals, p-values, Holm's correction. Arrays only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RESAMPLES = 20_000
_BLOCK = 500  # resamples computed at a time, which bounds memory for thousands of items


def resampled_means(
    scores: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES, images: ArrayLike | None = None
) -> Array:
    """Mean score of every method over resampled items. A resample has the same items for all methods (paired).

    Args:
        scores: (K, I), one method and training seed per row, one item per column.
        images: (I,) the image of each item. Images are resampled, each with all of its items. None means that every
            item has its own image.

    Returns:
        (R, K) means.
    """
    values = np.asarray(scores, dtype=float)
    sizes = np.ones(values.shape[1])  # (I,) items per image
    if images is not None:
        _, image = np.unique(images, return_inverse=True)  # (I,)
        values, sizes = np.stack([np.bincount(image, row) for row in values]), np.bincount(image).astype(float)
    n = len(sizes)
    means = np.empty((resamples, len(values)))  # (R, K)
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        times = rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(float)  # (rows, n)
        means[start : start + rows] = times @ values.T / (times @ sizes)[:, None]
    return means


def seed_shares(seeds: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """The share of each of S training seeds in each resample of the seeds, (R, S). A single seed has the share 1.

    The bootstrap variance over S seeds is too small by (S - 1) / S. Shares are stretched about 1 / S to correct it.
    """
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    return np.asarray(1 / seeds + (shares - 1 / seeds) * (seeds / max(1, seeds - 1)) ** 0.5)


def percentile_interval(resamples: ArrayLike) -> tuple[float, float]:
    """The 95 % percentile interval of resamples (R,), which may be infinite. (NaN, NaN) if one of them is NaN."""
    values = np.asarray(resamples, dtype=float)
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5], method="inverted_cdf")  # interpolation would give inf - inf
    return float(low), float(high)


def student_interval(value: float, variance: float, seeds: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """The 95 % interval of a mean by Student's t, and the two-sided p-value of the hypothesis that it is 0.

    Student's t, because the variance between a few training seeds is poorly estimated and may be far too small.
    Percentiles of resamples ignore this: if three seeds against three agree, they are significant at any level.

    Args:
        variance: of the value. Its part from resampled items counts as known.
        seeds: (part of the variance estimated from training seeds, number of seeds) of each method involved.

    Returns:
        low, high, p. Degrees of freedom are combined as in Satterthwaite (Biometrics Bulletin 2, 1946).
    """
    from scipy.special import stdtr, stdtrit

    if variance <= 0:
        return value, value, float(value == 0)
    estimated = sum(part**2 / (count - 1) for part, count in seeds if count > 1)
    degrees = min(variance**2 / estimated, 1e9) if estimated else 1e9
    standard_error = variance**0.5
    half_width = float(stdtrit(degrees, 0.975)) * standard_error
    return value - half_width, value + half_width, float(2 * stdtr(degrees, -abs(value) / standard_error))


def holm(p: ArrayLike) -> Array:
    """Adjusted p-values (M,). One is below 5 % if and only if Holm's step-down test rejects at 5 %.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
