"""Steps that several methods share: the highest scores, scores of one scale, and a budget divided among groups."""

import torch
from torch import Tensor


def top(scores: Tensor, k: int) -> Tensor:
    """Indices (k,) of the k highest of (n,) scores, highest first, ties to the lower index."""
    return scores.argsort(descending=True, stable=True)[:k]


def rescaled(values: Tensor) -> Tensor:
    """Values (n,) scaled to [0, 1]; if all are equal, 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-12)


def allot(weights: Tensor, sizes: Tensor, k: int) -> list[int]:
    """Divide k among groups in proportion to weights (g,), by largest remainder. No group exceeds its size (g,).

    What a full group cannot take is divided among the others in the same proportion.
    """
    weights = weights.double().clamp(min=1e-12)
    full = torch.zeros_like(sizes, dtype=torch.bool)
    quota = sizes.double()  # (g,)
    while True:
        rest = weights[~full]
        quota[~full] = (k - int(sizes[full].sum())) * rest / rest.sum()
        over = ~full & (quota > sizes)
        if not over.any():
            break
        quota[over] = sizes[over].double()
        full |= over
    counts = quota.floor().long()
    counts[top(quota - counts, k - int(counts.sum()))] += 1
    return counts.tolist()
