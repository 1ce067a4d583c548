"""Independent keeps: one Bernoulli per token, the policy of the TPRL-like rival and the decisions of DynamicViT's.

    log pi(z) = sum_i z_i log p_i + (1 - z_i) log(1 - p_i),  p_i = sigmoid(theta_i + log(k / (N - k)))

How many tokens are kept is random. The offset is ours: both methods were made for one ratio; with it, scores of zero
keep k in the mean whatever the budget, and the order of the scores, which is what counts at test time, stays.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = -1e4  # a logit that is never kept, costs exactly nothing and has no gradient


def logits(scores: Tensor, k: Tensor) -> Tensor:
    """theta + log(k / (N - k)), (B, N), of scores (B, N) and budgets k (B,); padding (-inf) gets `PADDING`.

    Half a token is always left to chance, so that keeping all of them has a finite logit.
    """
    valid = torch.isfinite(scores)
    count = valid.sum(1)
    share = (k / count).clamp(max=1 - 0.5 / count)  # (B,)
    return (scores + torch.logit(share)[:, None]).masked_fill(~valid, PADDING)


def sample(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One draw per row, (B, N) bool."""
    return torch.rand(logits.shape, generator=generator, device=logits.device) < logits.detach().sigmoid()


def log_prob(logits: Tensor, mask: Tensor) -> Tensor:
    """log pi(z) of masks (B, N), (B,)."""
    return -F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype), reduction="none").sum(1)


def entropy(logits: Tensor) -> Tensor:
    """H(pi) in nats, (B,)."""
    return (F.softplus(logits) - logits * logits.sigmoid()).sum(1)
