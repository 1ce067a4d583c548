"""answer -> reward: one teacher-forced forward of the frozen VLM per subset, without generation.

Ours: R = p + 0.2 * exact_match. p is the geometric mean of the probabilities of the answer's tokens. `exact_match` is 1
if greedy decoding, read off the same logits, reproduces the target, multiplied by the benchmark's score for that
target. A dense reward gives every group a signal; with exact match alone most groups have none (docs/log.md,
2026-11-21).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.training.bank import Batch
from grip_vlm.vlms import FrozenVLM

Judges = Sequence[tuple[FrozenVLM, Batch]]
"""frozen VLMs, each with the same questions as it encodes them"""
Reward = Callable[[Judges, Tensor, bool], tuple[Tensor, Tensor]]
"""(judges, masks (B, G, N), exact match only) -> reward and exact match, (B, G) each; `mean_reward` is one"""


@dataclass(frozen=True)
class Outcome:
    """How the frozen VLM answers from R pruned prompts."""

    log_likelihood: Tensor  # (R,) mean log-probability of the answer's tokens
    exact_match: Tensor  # (R,) 1.0 where greedy decoding gives the target, times the target's own score


def teacher_forced(vlm: FrozenVLM, batch: Batch, mask: Tensor, rows: Tensor | None = None) -> Outcome:
    """Run the pruned prompts followed by their answers.

    Args:
        mask: (R, N) tokens kept; rows: (R,) the sample each mask belongs to, None for one each.
    """
    logits, target_ids, is_answer = answer_logits(vlm, batch, mask, rows)
    log_probs = logits.float().log_softmax(-1)
    token = log_probs.gather(2, target_ids[..., None])[..., 0]  # (R, T)
    right = (logits.argmax(-1) == target_ids) | ~is_answer
    target_score = batch.target_score if rows is None else batch.target_score[rows]
    mean = (token * is_answer).sum(1) / is_answer.sum(1)
    return Outcome(mean, right.all(1).float() * target_score)


@torch.no_grad()
def answer_logits(
    vlm: FrozenVLM, batch: Batch, mask: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (R, T, vocabulary) of the last T tokens, those tokens (R, T), and which of them are the answer (R, T)."""
    inputs = vlm.pruned(batch.encoded.prompt, Action(mask), rows)
    target_ids, is_answer = batch.targets(inputs["input_ids"], rows)
    logits = vlm.model(**inputs, logits_to_keep=target_ids.shape[1] + 1, use_cache=False).logits[:, :-1]
    return logits, target_ids, is_answer


def mean_reward(judges: Judges, mask: Tensor, exact_only: bool) -> tuple[Tensor, Tensor]:
    """Reward and exact match of a group, (B, G) each, averaged over VLMs that see the same questions.

    Ours: tokens that push one VLM to an answer do not push another, so the mean rewards what the question needs.
    """
    rewards = [torch.stack(group_reward(vlm, batch, mask, exact_only)) for vlm, batch in judges]  # (2, B, G) each
    reward, exact_match = torch.stack(rewards).mean(0)
    return reward, exact_match


def group_reward(vlm: FrozenVLM, batch: Batch, mask: Tensor, exact_only: bool, size: int = 64) -> tuple[Tensor, Tensor]:
    """Reward and exact match of a group, (B, G) each, for masks (B, G, N).

    Subsets of similar length run together, at most `size` at a time, which keeps padding small.
    """
    b, g, _ = mask.shape
    flat = mask.flatten(0, 1)
    order = flat.sum(1).argsort(stable=True)
    parts = batch.fit.parts(order, size, lambda part: teacher_forced(vlm, batch, flat[part], part // g))
    back = order.argsort()
    exact_match = torch.cat([part.exact_match for part in parts])[back].view(b, g)
    if exact_only:
        return exact_match, exact_match
    likelihood = torch.cat([part.log_likelihood for part in parts])[back].exp().view(b, g)
    return likelihood + 0.2 * exact_match, exact_match
