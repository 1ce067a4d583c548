"""Steps that several methods choose by: the highest scores, and a budget shared among groups."""

import torch
from torch import Tensor


def top(scores: Tensor, k: int) -> Tensor:
    """The k highest of (n,) scores, highest first, ties to the lower index; (k,) indices."""
    return scores.argsort(descending=True, stable=True)[:k]


def allot(weights: Tensor, sizes: Tensor, k: int) -> list[int]:
    """k shared among groups in proportion to (g,) weights by largest remainder, none above its (g,) size.

    What a full group cannot take is shared among the others in the same proportion.
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
    given = quota.floor().long()
    given[top(quota - given, k - int(given.sum()))] += 1
    return given.tolist()
