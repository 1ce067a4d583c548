"""Continuous relaxations of the choice: gates on the attention of the frozen VLM, through which gradients flow.

Used by the warm-up, and by the rivals that are trained this way alone.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from grip_vlm import policy
from grip_vlm.bank import Batch
from grip_vlm.mdp import Action
from grip_vlm.vlms import FrozenVLM

CLOSED = 1e-4  # a closed gate's share of attention: small, but with a finite gradient


def soft_gate(scores: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """VisionSelector's gate: log sigmoid(theta + lambda), summing to k, (B, N); and its binary cross-entropy to the
    hard top-k mask, which closes the gap between the relaxation and the choice."""
    log_gate = policy.soft_top_k(scores, k)
    valid = torch.isfinite(scores)
    hard = policy.greedy(scores.detach(), k)
    log_open = log_gate.masked_fill(~valid, 0.0)
    log_shut = torch.log1p(-log_open.exp().clamp(max=1 - 1e-6))
    gap = -(torch.where(hard, log_open, log_shut) * valid).sum() / valid.sum()
    return log_gate.masked_fill(~valid, 0.0), gap


def straight_through_gate(scores: Tensor, k: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Gumbel top-k with hard gates forward and soft gradients backward: log gates, (B, N)."""
    uniform = torch.rand(scores.shape, generator=generator, device=scores.device).clamp(1e-9, 1 - 1e-7)
    noisy = (scores - torch.log(-torch.log(uniform))) / temperature
    soft = policy.soft_top_k(noisy, k).exp()
    hard = policy.greedy(noisy.detach(), k).float()
    gate = hard * (1 - CLOSED) + CLOSED
    gate = gate + (1 - CLOSED) * (soft - soft.detach())
    return torch.log(gate.clamp(min=CLOSED / 2))


def gated_log_likelihood(vlm: FrozenVLM, batch: Batch, log_gate: Tensor) -> Tensor:
    """Mean log-probability of each answer's tokens, (B,), when attention to visual token i is scaled by its gate.

    One forward of the full sequence with a 4-D mask; gradients reach the gates through every layer.
    """
    inputs = vlm.pruned(batch.encoded.prompt, Action(batch.encoded.state.visual_mask))
    length = inputs["input_ids"].shape[1]
    bias = gate_columns(
        inputs["input_ids"] == vlm.model.config.image_token_id, batch.encoded.state.visual_mask, log_gate
    )
    causal = torch.ones(length, length, dtype=torch.bool, device=bias.device).tril()
    seen = causal & inputs["attention_mask"].bool()[:, None, :]
    seen = seen | torch.eye(length, dtype=torch.bool, device=bias.device)  # padding rows see themselves
    floor = torch.finfo(vlm.model.dtype).min / 2
    mask = torch.where(seen, bias[:, None, :], floor)[:, None].to(vlm.model.dtype)  # (B, 1, L, L)
    target, told = batch.targets(inputs["input_ids"])
    inputs["attention_mask"] = mask
    logits = vlm.model(**inputs, logits_to_keep=target.shape[1] + 1, use_cache=False).logits[:, :-1]
    token = -F.cross_entropy(logits.float().transpose(1, 2), target, reduction="none")
    return (token * told).sum(1) / told.sum(1)


def gate_columns(is_visual: Tensor, visual_mask: Tensor, log_gate: Tensor) -> Tensor:
    """Log gates at the columns of the visual tokens, 0 elsewhere: (B, L) and (B, N) -> (B, L)."""
    bias = torch.zeros(is_visual.shape, device=log_gate.device, dtype=log_gate.dtype)
    return bias.masked_scatter(is_visual, log_gate[visual_mask])
