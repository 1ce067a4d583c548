"""Independent keeps: one Bernoulli per token. The policy of `tprl` and the decisions of `dynamicvit`.

    log pi(z) = sum_i z_i log p_i + (1 - z_i) log(1 - p_i),  p_i = sigmoid(theta_i + log(k / (N - k)))

The number of kept tokens is random. The offset is ours, because both methods were made for one ratio: with it, scores
of zero keep k tokens on average at every budget. It does not change the order of the scores, which decides at test
time.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = -1e4  # a logit that is never kept, has log-probability 0 and no gradient


def logits(scores: Tensor, k: Tensor) -> Tensor:
    """theta + log(k / (N - k)), (B, N), of scores (B, N) and budgets k (B,); padding (-inf) gets `PADDING`.

    At least half a token is left to chance, so that the logit is finite when all tokens are kept.
    """
    valid = torch.isfinite(scores)
    count = valid.sum(1)
    share = (k / count).clamp(max=1 - 0.5 / count)  # (B,)
    return (scores + torch.logit(share)[:, None]).masked_fill(~valid, PADDING)


def sample(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample per row, (B, N) bool."""
    return torch.rand(logits.shape, generator=generator, device=logits.device) < logits.detach().sigmoid()


def log_prob(logits: Tensor, mask: Tensor) -> Tensor:
    """log pi(z) of masks (B, N), (B,)."""
    return -F.binary_cross_entropy_with_logits(logits, mask.to(logits.dtype), reduction="none").sum(1)


def entropy(logits: Tensor) -> Tensor:
    """H(pi) in nats, (B,)."""
    return (F.softplus(logits) - logits * logits.sigmoid()).sum(1)
