"""Plackett-Luce over ordered samples (Gumbel top-k): each pick is a softmax of theta over the remaining tokens.

The policy of the baseline `grip_like`, because that of the paper is not public. It is the sequential policy without
redundancy, so its log-probabilities need no cosines and no loop.
"""

import torch
from torch import Tensor

from grip_vlm.policy import IMPOSSIBLE, gumbel


def sample(scores: Tensor, k: int, group: int, generator: torch.Generator | None = None) -> Tensor:
    """Ordered samples without replacement, (B, G, k) indices, from (B, N) scores; padding is -inf and comes last."""
    noise = gumbel((scores.shape[0], group, scores.shape[1]), generator, scores.device)
    return (scores.detach()[:, None] + noise).topk(k, dim=-1).indices


def step_log_probs(scores: Tensor, order: Tensor) -> Tensor:
    """log p of each pick given those before it, (B, G, k), differentiable in the (B, N) scores.

    log p_t = theta_t - log sum over the tokens not yet picked; the sum runs backwards from the tail, so that no
    subtraction of nearly equal numbers occurs. Picks of padding get finite numbers that mean nothing.
    """
    theta = scores.clamp(min=IMPOSSIBLE)[:, None].expand(-1, order.shape[1], -1)
    picked = theta.gather(2, order)  # (B, G, k)
    rest = theta.masked_fill(torch.zeros_like(theta, dtype=torch.bool).scatter(2, order, True), -torch.inf)
    tail = rest.logsumexp(dim=2, keepdim=True)  # (B, G, 1)
    backwards = torch.cat([tail, picked.flip(2)], dim=2).logcumsumexp(dim=2)
    return picked - backwards[:, :, 1:].flip(2)
