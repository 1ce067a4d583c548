"""The GRIP-like baseline: GRPO of ordered Plackett-Luce draws, our reading of the paper's words."""

import torch
from torch import Tensor

from grip_vlm import plackett_luce, sequential
from grip_vlm.bank import Batch
from grip_vlm.rewards import group_reward
from grip_vlm.training import Run


def ordered_step(
    run: Run, batch: Batch, k: Tensor, group: int, epochs: int, exact_only: bool, generator: torch.Generator
) -> None:
    """Ordered draws, token-level clipped ratios, group-normalised reward, no anchor.

    One budget per step, since ordered draws of different lengths do not batch: the first question's.
    """
    state = batch.encoded.state
    keep = min(int(k[0]), int(state.counts.min()))
    same = torch.full_like(k, keep)
    with torch.no_grad():
        old_scores = run.score(state, same).importance
        order = plackett_luce.sample(old_scores, keep, group, generator)  # (B, G, k)
        old = plackett_luce.step_log_probs(old_scores, order)
        drawn = sequential.kept(order, same, state.visual.shape[1])  # (B, G, N)
        reward, exact = group_reward(run.vlm, batch, drawn, exact_only)
        advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-4)  # (B, G)
    for _ in range(epochs):
        ratio = (plackett_luce.step_log_probs(run.score(state, same).importance, order) - old).exp()  # (B, G, k)
        weighted = advantage[..., None] * ratio
        clipped = advantage[..., None] * ratio.clamp(0.8, 1.2)
        run.descend(-torch.minimum(weighted, clipped).mean())
    run.log(reward=float(reward.mean()), exact=float(exact.mean()))
