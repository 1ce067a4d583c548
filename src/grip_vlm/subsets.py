"""Exactly k of N: the k highest scores, and the check that k and the scores make sense."""

import torch
from torch import Tensor


def top_k(scores: Tensor, k: Tensor) -> Tensor:
    """The k highest scores of each row, ties to the lower index: (B, N) scores, (B,) k -> (B, N) bool.

    Raises:
        ValueError: a score is NaN or +inf, or k is not in [1, number of tokens].
    """
    valid_tokens(scores, k)
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    )
    return rank < k[:, None]


def valid_tokens(scores: Tensor, k: Tensor) -> Tensor:
    """Which of (B, N) scores belong to tokens, (B, N) bool; padding has score -inf. k is (B,) tokens to keep.

    Raises:
        ValueError: a score is NaN or +inf, or k is not in [1, number of tokens].
    """
    if torch.isnan(scores).any() or (scores == torch.inf).any():
        raise ValueError("scores contain NaN or +inf; the scorer has diverged or its input is not finite")
    valid = torch.isfinite(scores)
    counts = valid.sum(1)
    if (k < 1).any() or (k > counts).any():
        raise ValueError(f"k must be between 1 and the number of tokens; got k {k.tolist()} for {counts.tolist()}")
    return valid
