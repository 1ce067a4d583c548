"""Continuous relaxations of the choice: gates on the attention of the frozen VLM, through which gradients flow.

Used by the warm-up, and by the rivals that are trained this way alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

from grip_vlm import policy, sequential
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
    noisy = (scores + sequential.gumbel(scores.shape, generator, scores.device)) / temperature
    soft = policy.soft_top_k(noisy, k).exp()
    hard = policy.greedy(noisy.detach(), k).float()
    return bias_of(hard + (soft - soft.detach()))


def bias_of(kept: Tensor) -> Tensor:
    """What hard decisions, 0 or 1, (B, N), add to attention logits, (B, N): nearly -inf and 0, with a gradient."""
    return torch.log((CLOSED + (1 - CLOSED) * kept).clamp(min=CLOSED / 2))


def gated_log_likelihood(vlm: FrozenVLM, batch: Batch, log_gate: Tensor) -> Tensor:
    """Mean log-probability of each answer's tokens, (B,), when attention to visual token i is scaled by its gate.

    One forward of the full sequence; gradients reach the gates through every layer that attends.
    """
    prompt = batch.encoded.prompt
    inputs = vlm.pruned(prompt, Action(batch.encoded.state.visual_mask))
    # Keep-all is the prompt itself, so its slots are the columns of the visual tokens.
    bias = torch.zeros(prompt.input_ids.shape, device=log_gate.device, dtype=log_gate.dtype)  # (B, L)
    row, token = (prompt.slots >= 0).nonzero(as_tuple=True)
    bias = bias.index_put((row, prompt.slots[row, token]), log_gate[row, token])
    with gated_attention(vlm.model, bias):
        return answer_log_likelihood(vlm, batch, inputs)


def answer_log_likelihood(vlm: FrozenVLM, batch: Batch, inputs: dict[str, Any]) -> Tensor:
    """Mean log-probability of each answer's tokens, (B,), with gradient, from inputs that `vlm.pruned` made."""
    target, told = batch.targets(inputs["input_ids"])
    logits = vlm.model(**inputs, logits_to_keep=target.shape[1] + 1, use_cache=False).logits[:, :-1]
    token = -F.cross_entropy(logits.float().transpose(1, 2), target, reduction="none")
    return (token * told).sum(1) / told.sum(1)


@contextmanager
def gated_attention(model: Any, bias: Tensor) -> Iterator[None]:
    """Inside, the language model adds `bias` (B, L) to the attention logits of every key, on top of whatever mask the
    family builds: causal, sliding or in both directions. Transformers' own way to name an attention implementation is
    used, and the model's is back afterwards."""

    def mask_of(*args: Any, **kwargs: Any) -> Tensor:
        # A mask that may be skipped would leave no place for the bias.
        mask: Tensor = eager_mask(
            *args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        )
        return (mask + bias[:, None, None].to(mask)).clamp(min=torch.finfo(mask.dtype).min)

    AttentionInterface.register("grip_vlm_gated", sdpa_attention_forward)
    AttentionMaskInterface.register("grip_vlm_gated", mask_of)
    before = model.config.get_text_config()._attn_implementation
    model.set_attn_implementation({"text_config": "grip_vlm_gated"})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})
