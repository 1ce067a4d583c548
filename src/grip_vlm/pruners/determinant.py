"""Greedy maximisation of a determinant, one token after another (fast greedy MAP, Chen et al., arXiv 1709.05135)."""

import torch
from torch import Tensor


def greedy_map(similarity: Tensor, r: Tensor, k: int, ridge: float) -> Tensor:
    """k times the token that raises det(diag(r) (S + ridge) diag(r)) most: (k,) indices in the order chosen.

    The determinant is the product of the squares of r times det(S + ridge). Only the Cholesky factor of S + ridge is
    therefore computed, row by row, in float64.

    Args:
        similarity: (n, n) S.
        r: (n,) relevance.
        ridge: added to the diagonal of S.
    """
    similarity = similarity.to(torch.float64, copy=True)
    similarity.diagonal().add_(ridge)
    rows = similarity.new_zeros(k, len(r))  # (k, n) of the Cholesky factor
    rest = similarity.diagonal().clone()  # (n,) the part of each token that the chosen ones do not explain
    chosen = []
    for step in range(k):
        newest = (r.double() ** 2 * rest).argmax()
        rows[step] = (similarity[newest] - rows[:step, newest] @ rows[:step]) / rest[newest].sqrt()
        rest = rest - rows[step] ** 2
        rest[newest] = -torch.inf
        chosen.append(newest)
    return torch.stack(chosen)
