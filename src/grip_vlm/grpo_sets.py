"""A step of GRPO for the law over sets: the k-subset Gibbs policy of importance alone, which no order enters.

Ours, and an ablation of the sequential policy: sets cannot be told apart by what their tokens repeat. The logarithm of
a ratio is divided by sqrt(d), d = sum pi (1 - pi): its spread is then the same for every budget.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.advantage import far_enough, group_advantage
from grip_vlm.bank import Batch
from grip_vlm.exploration import steer
from grip_vlm.mdp import Group
from grip_vlm.policy import Gibbs
from grip_vlm.rewards import mean_reward
from grip_vlm.training import Run
from grip_vlm.vlms import FrozenVLM

if TYPE_CHECKING:
    from grip_vlm.grpo import Anchor, GRPOConfig

CLIP_HIGH, CLIP_LOW = 1.07, 0.95  # on the sqrt(d)-normalised ratio; notes section 8
SPREAD_EARLY, SPREAD_LATE = (0.25, 0.5), (0.1, 0.25)  # d / k the temperature is steered to, from start to end


def gibbs_step(
    run: Run,
    config: "GRPOConfig",
    anchor: "Anchor",
    judges: Sequence[tuple[FrozenVLM, Batch]],
    k: Tensor,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """Roll out one group per question, then descend `epochs` times; returns the deviation of rewards, (B,)."""
    state = judges[0][1].encoded.state
    with torch.no_grad():
        scores = run.score(state, k).importance
        if run.state["log_temperature"] is None:
            run.state["log_temperature"] = run.mean(torch.tensor(first_temperature(scores, k), device=k.device))
        temperature = math.exp(run.state["log_temperature"])
        old = policy.gibbs(scores / temperature, k)
        mask = policy.sample(old, config.group, generator)  # (B, G, N)
        reward, exact = mean_reward(judges, mask, config.reward == "exact")
        group = Group(mask, reward)
        anchor_law = policy.gibbs(anchor.scores.importance, anchor.k)
    advantage = group_advantage(group.reward, k, state.counts, run.state["scale"], run.accelerator.gather)
    clipped = 0.0
    for _ in range(config.epochs):
        scores = run.score(state, k).importance / temperature
        gradient, clipped = gibbs_gradient(policy.gibbs(scores, k), old, group.mask, advantage)
        anchored = run.score(anchor.state, anchor.k).importance
        pull = anchor_gradient(policy.gibbs(anchored, anchor.k), anchor_law)
        run.descend(surrogate(scores, gradient) + config.anchor * surrogate(anchored, pull))
    spread = run.mean((old.spread / k).mean())
    band = (early + (late - early) * progress for early, late in zip(SPREAD_EARLY, SPREAD_LATE, strict=True))
    run.state["log_temperature"] = steer(run.state["log_temperature"], spread, *band)
    run.log(reward=float(reward.mean()), exact=float(exact.mean()), spread=spread, clip=clipped)
    return group.reward.std(1, correction=0)


def gibbs_gradient(law: Gibbs, old: Gibbs, mask: Tensor, advantage: Tensor) -> tuple[Tensor, float]:
    """d loss / d theta, (B, N), and the share of clipped subsets.

    -(1/G) sum_g m_g rho_g A_g (z_g - pi) / sqrt(d_old), with rho_g = exp((log pi(z_g) - log pi_old(z_g)) / sqrt(d_old))
    and m_g = 0 where rho_g has already moved far enough in the direction of its advantage.
    """
    d = old.spread.clamp(min=1e-3)[:, None]  # (B, 1)
    ratio = torch.exp((policy.log_prob(law, mask) - policy.log_prob(old, mask)) / d.sqrt())  # (B, G)
    far = far_enough(ratio, advantage, CLIP_LOW, CLIP_HIGH)
    push = torch.where(far, 0, ratio * advantage)[..., None] * (mask.double() - law.inclusion[:, None])  # (B, G, N)
    return -push.mean(1) / d.sqrt(), float(far.float().mean())


def anchor_gradient(law: Gibbs, anchor: Gibbs) -> Tensor:
    """d KL(pi || pi_ref) / d theta / k, (B, N): Cov(z) (theta - theta_ref) / k, with Cov as approximated there."""
    away = torch.where(torch.isfinite(law.scores), law.scores - anchor.scores, 0)
    return policy.covariance_times(law, away) / anchor.k[:, None]


def surrogate(scores: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient in the scores is `gradient` / B."""
    finite = scores.masked_fill(~torch.isfinite(scores), 0.0)
    return (finite * gradient.to(scores.dtype)).sum(1).mean()


def first_temperature(scores: Tensor, k: Tensor) -> float:
    """log tau at which the warm-up policy explores in the middle of the first band, by bisection."""
    low, high = -3.0, 5.0
    for _ in range(12):
        middle = (low + high) / 2
        spread = float((policy.gibbs(scores / math.exp(middle), k).spread / k).mean())
        low, high = (middle, high) if spread < sum(SPREAD_EARLY) / 2 else (low, middle)
    return (low + high) / 2
