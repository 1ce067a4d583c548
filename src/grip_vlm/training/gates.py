"""Continuous relaxations of the choice: gates on the attention of the frozen VLM, through which gradients flow.

The warm-up uses the soft top-k gate. The rivals that are trained by a relaxation bring gates of their own.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grip_vlm.mdp import Action
from grip_vlm.subsets import top_k
from grip_vlm.training import gibbs
from grip_vlm.training.bank import Batch
from grip_vlm.training.fit import with_gradient
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.attention import gated_attention

CLOSED = 1e-4  # a closed gate's share of attention: small, but with a finite gradient


class Step(NamedTuple):
    """What the loss of a relaxation is computed from."""

    vlm: FrozenVLM
    batch: Batch
    scores: Tensor  # (B, N) importance less redundancy, -inf for padding
    k: Tensor  # (B,)
    progress: float
    """share of the relaxation's steps that are done, in [0, 1)"""
    auxiliary: Any
    """the relaxation's own network in training, None if it has none"""
    generator: torch.Generator


class RelaxedLoss(Protocol):
    def __call__(self, step: Step) -> Tensor:
        """The loss, a scalar with gradient in the scores."""
        ...


class Relaxation(NamedTuple):
    """A relaxation: its name, its loss and the network that only its training needs."""

    method: str
    loss: RelaxedLoss
    auxiliary: nn.Module | None = None


def soft_top_k_loss(step: Step) -> Tensor:
    """Negative log-likelihood of the answer through soft top-k gates, plus 0.1 to 2 times the gap to hard gates."""
    gate, gap = soft_gate(step.scores, step.k)
    return -gated_log_likelihood(step.vlm, step.batch, gate).mean() + (0.1 + 1.9 * step.progress) * gap


SOFT_TOP_K = Relaxation("soft_topk", soft_top_k_loss)


def soft_gate(scores: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """VisionSelector's gate (arXiv 2510.16598), and the loss that closes the gap between relaxation and choice.

    Returns:
        log sigmoid(theta + lambda), whose exponentials sum to k, (B, N), and the gate's binary cross-entropy to the
        hard top-k mask.
    """
    log_gate = gibbs.soft_top_k(scores, k)
    valid = torch.isfinite(scores)
    hard = top_k(scores.detach(), k)
    log_open = log_gate.masked_fill(~valid, 0.0)
    log_shut = torch.log1p(-log_open.exp().clamp(max=1 - 1e-6))
    gap = -(torch.where(hard, log_open, log_shut) * valid).sum() / valid.sum()
    return log_gate.masked_fill(~valid, 0.0), gap


def bias_of(kept: Tensor) -> Tensor:
    """Hard decisions, 0 or 1, (B, N) -> the bias on attention logits, (B, N): nearly -inf and 0, with a gradient."""
    return torch.log((CLOSED + (1 - CLOSED) * kept).clamp(min=CLOSED / 2))


def gated_log_likelihood(vlm: FrozenVLM, batch: Batch, log_gate: Tensor) -> Tensor:
    """Mean log-probability of each answer's tokens, (B,), when attention to visual token i is scaled by its gate.

    The full sequence is run. Gradients reach the gates through every layer.
    """
    return with_gradient(batch.fit, (log_gate,), lambda rows, leaves: _gated(vlm, batch, leaves[0], rows))


def _gated(vlm: FrozenVLM, batch: Batch, log_gate: Tensor, rows: Tensor | None) -> Tensor:
    """As `gated_log_likelihood`, (R,), of gates (R, N) for some rows of the batch."""
    prompt, mask = batch.encoded.prompt, batch.encoded.state.visual_mask
    inputs = vlm.pruned(prompt, Action(mask if rows is None else mask[rows]), rows)
    ids = inputs["input_ids"]
    # Keep-all is the prompt itself without the padding that all rows share, so its slots give the columns.
    slots = prompt.slots if rows is None else prompt.slots[rows]
    row, token = (slots >= 0).nonzero(as_tuple=True)
    column = slots[row, token] - (prompt.input_ids.shape[1] - ids.shape[1])
    bias = torch.zeros(ids.shape, device=log_gate.device, dtype=log_gate.dtype)  # (R, L)
    bias = bias.index_put((row, column), log_gate[row, token])
    with gated_attention(vlm.model, bias):
        return answer_log_likelihood(vlm, batch, inputs, rows)


def answer_log_likelihood(vlm: FrozenVLM, batch: Batch, inputs: dict[str, Any], rows: Tensor | None = None) -> Tensor:
    """Mean log-probability of each answer's tokens, (R,), with gradient, from inputs made by `vlm.pruned`.

    `rows` (R,) is the sample of each prompt, None for all.
    """
    target_ids, is_answer = batch.targets(inputs["input_ids"], rows)
    logits = vlm.model(**inputs, logits_to_keep=target_ids.shape[1] + 1, use_cache=False).logits[:, :-1]
    token = -F.cross_entropy(logits.float().transpose(1, 2), target_ids, reduction="none")
    return (token * is_answer).sum(1) / is_answer.sum(1)
