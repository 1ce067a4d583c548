"""answer -> reward: one teacher-forced forward of the frozen VLM per subset, no generation.

Ours: R = p + 0.2 * exact, where p is the geometric mean of the answer tokens' probabilities and `exact` tells whether
greedy decoding would give exactly the target, read off the same logits, times the benchmark's own score of the target.
A dense reward leaves no group without a signal; exact match alone does for most groups (notes of 2026-11-21, log).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grip_vlm.bank import Batch
from grip_vlm.mdp import Action
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Outcome:
    """What the frozen VLM makes of the answer, given R pruned prompts."""

    log_likelihood: Tensor  # (R,) mean log-probability of the answer's tokens
    exact: Tensor  # (R,) 1.0 where greedy decoding gives the target, times the target's worth


def teacher_forced(vlm: FrozenVLM, batch: Batch, mask: Tensor, rows: Tensor | None = None) -> Outcome:
    """Run the pruned prompts with their answers behind them.

    Args:
        mask: (R, N) tokens kept; rows: (R,) the sample each mask belongs to, None for one each.
    """
    logits, target, told = answer_logits(vlm, batch, mask, rows)
    log_probs = logits.float().log_softmax(-1)
    token = log_probs.gather(2, target[..., None])[..., 0]  # (R, T)
    right = (logits.argmax(-1) == target) | ~told
    worth = batch.worth if rows is None else batch.worth[rows]
    mean = (token * told).sum(1) / told.sum(1)
    return Outcome(mean, right.all(1).float() * worth)


@torch.no_grad()
def answer_logits(
    vlm: FrozenVLM, batch: Batch, mask: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (R, T, vocabulary) that predict the last T tokens, those tokens, and which are the answer, (R, T)."""
    inputs = vlm.pruned(batch.encoded.prompt, Action(mask), rows)
    target, told = batch.targets(inputs["input_ids"], rows)
    logits = vlm.model(**inputs, logits_to_keep=target.shape[1] + 1, use_cache=False).logits[:, :-1]
    return logits, target, told


def mean_reward(judges: Sequence[tuple[FrozenVLM, Batch]], mask: Tensor, exact_only: bool) -> tuple[Tensor, Tensor]:
    """Reward and exact match of a group, (B, G) each, in the mean over VLMs that look at the same questions.

    Ours: tokens that push one VLM to an answer do not push another, so that the mean pays for what the question needs.
    """
    found = [torch.stack(group_reward(vlm, batch, mask, exact_only)) for vlm, batch in judges]  # (2, B, G) each
    reward, exact = torch.stack(found).mean(0)
    return reward, exact


def group_reward(vlm: FrozenVLM, batch: Batch, mask: Tensor, exact_only: bool, size: int = 64) -> tuple[Tensor, Tensor]:
    """Reward and exact match of a group, (B, G) each, for masks (B, G, N).

    Subsets of similar length run together, `size` at a time, so that little is padded.
    """
    b, g, _ = mask.shape
    flat = mask.flatten(0, 1)
    order = flat.sum(1).argsort(stable=True)
    parts = [teacher_forced(vlm, batch, flat[part], part // g) for part in torch.split(order, size)]
    back = order.argsort()
    exact = torch.cat([part.exact for part in parts])[back].view(b, g)
    if exact_only:
        return exact, exact
    likelihood = torch.cat([part.log_likelihood for part in parts])[back].exp().view(b, g)
    return likelihood + 0.2 * exact, exact
