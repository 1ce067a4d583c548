"""Plackett-Luce over ordered draws (Gumbel top-k): tokens are picked one after another, by exp(theta) among those left.

The policy of the baseline `grip_like`: that of the paper is not public. It is the sequential policy without repeats,
whose log-probabilities need no cosines and no loop.
"""

import torch
from torch import Tensor

from grip_vlm.sequential import NEVER, gumbel


def sample(scores: Tensor, k: int, group: int, generator: torch.Generator | None = None) -> Tensor:
    """Ordered draws without replacement, (B, G, k) indices, of (B, N) scores; padding is -inf and comes last."""
    noise = gumbel((scores.shape[0], group, scores.shape[1]), generator, scores.device)
    return (scores.detach()[:, None] + noise).topk(k, dim=-1).indices


def step_log_probs(scores: Tensor, order: Tensor) -> Tensor:
    """log p of each pick given those before it, (B, G, k), differentiable in the (B, N) scores.

    log p_t = theta_t - log sum over the tokens not yet picked; the sum runs backwards from the tail, so that no
    subtraction of nearly equal numbers occurs. Picks of padding get finite numbers that mean nothing.
    """
    theta = scores.clamp(min=NEVER)[:, None].expand(-1, order.shape[1], -1)
    picked = theta.gather(2, order)  # (B, G, k)
    rest = theta.masked_fill(torch.zeros_like(theta, dtype=torch.bool).scatter(2, order, True), -torch.inf)
    tail = rest.logsumexp(dim=2, keepdim=True)  # (B, G, 1)
    backwards = torch.cat([tail, picked.flip(2)], dim=2).logcumsumexp(dim=2)
    return picked - backwards[:, :, 1:].flip(2)
