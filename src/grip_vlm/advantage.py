"""The group-relative advantage of GRPO, and when a ratio has followed it far enough."""

from collections.abc import Callable

import torch
from torch import Tensor

from grip_vlm import focus


def group_advantage(
    reward: Tensor,
    k: Tensor,
    counts: Tensor,
    scale: dict[str, float],
    gather: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> Tensor:
    """(R - mean) / max(sigma, half the running mean of sigma at this budget), (B, G).

    The floor keeps groups that hardly differ from being blown up. `scale` holds the running means per octave of k / N
    and is updated from all processes (`gather`), so that it is the same in each. Groups that do not differ get zero.
    """
    sigma = reward.std(1, correction=0)  # (B,)
    octave = torch.log2(k / counts).round().long()  # (B,)
    focus.update(scale, gather(octave), gather(sigma), rate=0.05)
    floor = torch.tensor([0.5 * scale[str(value)] for value in octave.tolist()], device=sigma.device)
    advantage = (reward - reward.mean(1, keepdim=True)) / torch.maximum(sigma, floor).clamp(min=1e-4)[:, None]
    return torch.where(sigma[:, None] < 1e-4, 0.0, advantage)


def clipped_gain(log_ratio: Tensor, advantage: Tensor, clip: float = 0.2) -> Tensor:
    """min(rho A, clip(rho, 1 - eps, 1 + eps) A), of one shape: no gain from moving further than eps (PPO)."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def far_enough(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """Where a ratio to the drawing policy has left [low, high] in the direction of its advantage, bool, as shaped."""
    return ((advantage > 0) & (ratio > high)) | ((advantage < 0) & (ratio < low))
