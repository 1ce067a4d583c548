"""Textbook GRPO of ordered Plackett-Luce draws: with exact match as the reward our reading of the paper, `grip_like`.

Group-normalised rewards, a clipped ratio for every pick, and the penalty on leaving the warm-up, as in DeepSeekMath
(arXiv 2402.03300, section 4.1.1; there beta is 0.04). Questions are drawn evenly. None of what is ours enters: no
repeats, no dense reward, no choice of questions, no ratio of whole draws.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grip_vlm import plackett_luce, sequential
from grip_vlm.advantage import clipped_gain
from grip_vlm.bank import Batch
from grip_vlm.rewards import mean_reward
from grip_vlm.scorer import Scorer
from grip_vlm.training import Run
from grip_vlm.vlms import FrozenVLM

if TYPE_CHECKING:
    from grip_vlm.grpo import GRPOConfig


def ordered_step(
    run: Run,
    config: "GRPOConfig",
    reference: Scorer,
    judges: Sequence[tuple[FrozenVLM, Batch]],
    k: Tensor,
    generator: torch.Generator,
) -> None:
    """Roll out one group per question, then descend `epochs` times."""
    state = judges[0][1].encoded.state
    with torch.no_grad():
        scores = run.score(state, k).importance
        order = plackett_luce.sample(scores, int(k.max()), config.group, generator)  # (B, G, K), of which k count
        old = plackett_luce.step_log_probs(scores, order)
        anchor = plackett_luce.step_log_probs(run.score(state, k, reference).importance, order)
        mask = sequential.kept(order, k, scores.shape[1])  # (B, G, N)
        reward, exact = mean_reward(judges, mask, config.reward == "exact")
        advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-4)  # (B, G)
    counts = sequential.counting(order, k)
    for _ in range(config.epochs):
        picks = plackett_luce.step_log_probs(run.score(state, k).importance, order)  # (B, G, K)
        gain = clipped_gain(picks - old, advantage[..., None]) - config.anchor * leaving(anchor - picks)
        run.descend(-(gain.masked_fill(~counts, 0.0).sum(2) / k[:, None]).mean())
    run.log(reward=float(reward.mean()), exact=float(exact.mean()))


def leaving(log_ratio: Tensor) -> Tensor:
    """r - log r - 1 with r = p_ref / p: its mean over draws from p is KL(p || p_ref), and it is never negative."""
    return log_ratio.exp() - log_ratio - 1
