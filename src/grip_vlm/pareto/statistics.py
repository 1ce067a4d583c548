"""How sure a number is: resampled items and training seeds, intervals, p-values, Holm's correction. Arrays only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Twice its inverse is the least p-value there can be; Holm multiplies it by the number of comparisons.
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

    The variance between S seeds comes out too small, by (S - 1) / S, as in every bootstrap: with two it is half.
    """
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=repetitions) / seeds


def interval(draws: ArrayLike) -> tuple[float, float]:
    """The percentile interval of 95 % of draws (R,); infinite draws count, and with undefined ones there is none."""
    values = np.asarray(draws, dtype=float)
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5], method="inverted_cdf")  # which does not subtract infinities
    return float(low), float(high)


def p_value(draws: ArrayLike) -> float:
    """Two-sided bootstrap p-value of "no difference": twice the rarer side's share of draws (R,), zeros on both.

    One is added to both counts, so that it is never zero (Davison and Hinkley, Bootstrap Methods, 1997, section 4.4).
    """
    values = np.asarray(draws)
    rarer = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(values) + 1))


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
