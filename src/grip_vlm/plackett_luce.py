"""Plackett-Luce over ordered draws (Gumbel top-k): the policy of the GRIP-like baseline.

The paper's policy is not public; this is our reading of it: tokens are picked one after another with probability
proportional to exp(theta) among those left.
"""

import torch
from torch import Tensor


def sample(scores: Tensor, k: int, group: int, generator: torch.Generator | None = None) -> Tensor:
    """Ordered draws without replacement, (B, G, k) indices, of (B, N) scores; padding is -inf and is never drawn."""
    noise = gumbel((scores.shape[0], group, scores.shape[1]), generator, scores.device)
    return (scores.detach()[:, None] + noise).topk(k, dim=-1).indices


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Standard Gumbel noise, float32: the highest of logits plus it is a draw from their softmax."""
    uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float32)
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))


def step_log_probs(scores: Tensor, order: Tensor) -> Tensor:
    """log p of each pick given those before it, (B, G, k), differentiable in the (B, N) scores.

    log p_t = theta_t - log sum over the tokens not yet picked; the sum runs backwards from the tail, so that no
    subtraction of nearly equal numbers occurs.
    """
    theta = scores[:, None].expand(-1, order.shape[1], -1)
    picked = theta.gather(2, order)  # (B, G, k)
    rest = theta.masked_fill(torch.zeros_like(theta, dtype=torch.bool).scatter(2, order, True), -torch.inf)
    tail = rest.logsumexp(dim=2, keepdim=True)  # (B, G, 1)
    backwards = torch.cat([tail, picked.flip(2)], dim=2).logcumsumexp(dim=2)
    return picked - backwards[:, :, 1:].flip(2)
