"""The group-relative advantage of GRPO, and the clipping of probability ratios."""

from collections.abc import Callable

import torch
from torch import Tensor


def group_advantage(
    reward: Tensor,
    k: Tensor,
    counts: Tensor,
    scale: dict[str, float],
    gather: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> Tensor:
    """(R - mean) / max(sigma, half the running mean of sigma at this budget), (B, G).

    The floor keeps small differences within a group from being amplified. `scale` holds the running means per octave of
    k / N. It is updated from all processes (`gather`), so every process has the same one. Groups without differences
    get zero.
    """
    sigma = reward.std(1, correction=0)  # (B,)
    octave = torch.log2(k / counts).round().long()  # (B,)
    move_means(scale, gather(octave), gather(sigma), rate=0.05)
    floor = torch.tensor([0.5 * scale[str(value)] for value in octave.tolist()], device=sigma.device)
    advantage = (reward - reward.mean(1, keepdim=True)) / torch.maximum(sigma, floor).clamp(min=1e-4)[:, None]
    return torch.where(sigma[:, None] < 1e-4, 0.0, advantage)


def clipped_gain(log_ratio: Tensor, advantage: Tensor, clip: float = 0.2) -> Tensor:
    """PPO's clipped objective min(rho A, clip(rho, 1 - eps, 1 + eps) A), elementwise for tensors of one shape."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def far_enough(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """Where a probability ratio has left [low, high] in the direction of its advantage: bool, of the same shape."""
    return ((advantage > 0) & (ratio > high)) | ((advantage < 0) & (ratio < low))


def move_means(means: dict[str, float], cells: Tensor, values: Tensor, rate: float) -> None:
    """Move each cell's running mean a share `rate` towards the mean of its new values; cells and values are (R,)."""
    for cell in set(cells.tolist()):
        new = float(values[cells == cell].mean())
        means[str(cell)] = (1 - rate) * means.get(str(cell), new) + rate * new
