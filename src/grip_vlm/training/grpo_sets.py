"""A step of GRPO for the distribution over sets: the k-subset Gibbs policy of importance alone, without any order.

Ours, and an ablation of the sequential policy: this distribution cannot express that two tokens are redundant. The
logarithm of a ratio is divided by sqrt(d), d = sum pi (1 - pi), so that its spread is the same for every budget.
"""

import math

import torch
from torch import Tensor

from grip_vlm.training import gibbs
from grip_vlm.training.advantage import far_enough, group_advantage
from grip_vlm.training.gibbs import Gibbs
from grip_vlm.training.grpo import Rollout, steer
from grip_vlm.training.run import Run
from grip_vlm.training.settings import GRPOConfig

CLIP_HIGH, CLIP_LOW = 1.07, 0.95  # on the sqrt(d)-normalised ratio, whose spread is far below the sequential policy's
SPREAD_EARLY, SPREAD_LATE = (0.25, 0.5), (0.1, 0.25)  # bands of d / k for the temperature, at the start and at the end


def gibbs_step(run: Run[GRPOConfig], rollout: Rollout) -> Tensor:
    """A `GRPOStep`: the temperature starts where the warm-up policy explores at the middle of the first band."""
    config, state, k, anchor = run.config, rollout.state, rollout.k, rollout.anchor
    with torch.no_grad():
        scores = run.score(state, k).importance
        if "log_temperature" not in run.state:
            run.state["log_temperature"] = run.mean(torch.tensor(first_temperature(scores, k), device=k.device))
        temperature = math.exp(run.state["log_temperature"])
        old = gibbs.gibbs(scores / temperature, k)
        mask = gibbs.sample(old, config.group, rollout.generator)  # (B, G, N)
        reward, exact_match = rollout.rewards(mask)
        reference = gibbs.gibbs(anchor.scores.importance, anchor.k)
    advantage = group_advantage(reward, k, state.counts, run.state["scale"], run.accelerator.gather)
    clipped = 0.0
    for _ in range(config.epochs):
        scores = run.score(state, k).importance / temperature
        gradient, clipped = gibbs_gradient(gibbs.gibbs(scores, k), old, mask, advantage)
        anchored = run.score(anchor.state, anchor.k).importance
        pull = anchor_gradient(gibbs.gibbs(anchored, anchor.k), reference)
        run.descend(surrogate(scores, gradient) + config.anchor * surrogate(anchored, pull))
    spread = run.mean((old.spread / k).mean())
    ends = zip(SPREAD_EARLY, SPREAD_LATE, strict=True)
    low, high = (early + (late - early) * rollout.progress for early, late in ends)
    run.state["log_temperature"] = steer(run.state["log_temperature"], spread, low, high)
    run.log(reward=float(reward.mean()), exact=float(exact_match.mean()), spread=spread, clip=clipped)
    return reward.std(1, correction=0)


def gibbs_gradient(distribution: Gibbs, old: Gibbs, mask: Tensor, advantage: Tensor) -> tuple[Tensor, float]:
    """d loss / d theta, (B, N), and the share of clipped subsets.

    -(1/G) sum_g m_g rho_g A_g (z_g - pi) / sqrt(d_old), with rho_g = exp((log pi(z_g) - log pi_old(z_g)) /
    sqrt(d_old)). m_g is 0 where rho_g has already moved far enough in the direction of its advantage.
    """
    d = old.spread.clamp(min=1e-3)[:, None]  # (B, 1)
    ratio = torch.exp((gibbs.log_prob(distribution, mask) - gibbs.log_prob(old, mask)) / d.sqrt())  # (B, G)
    far = far_enough(ratio, advantage, CLIP_LOW, CLIP_HIGH)
    push = torch.where(far, 0, ratio * advantage)[..., None] * (
        mask.double() - distribution.inclusion[:, None]
    )  # (B, G, N)
    return -push.mean(1) / d.sqrt(), float(far.float().mean())


def anchor_gradient(distribution: Gibbs, reference: Gibbs) -> Tensor:
    """d KL(pi || pi_ref) / d theta / k, (B, N): Cov(z) (theta - theta_ref) / k, with Cov as approximated there."""
    away = torch.where(torch.isfinite(distribution.scores), distribution.scores - reference.scores, 0)
    return gibbs.covariance_times(distribution, away) / reference.k[:, None]


def surrogate(scores: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient in the scores is `gradient` / B."""
    finite = scores.masked_fill(~torch.isfinite(scores), 0.0)
    return (finite * gradient.to(scores.dtype)).sum(1).mean()


def first_temperature(scores: Tensor, k: Tensor) -> float:
    """log tau at which the warm-up policy explores at the middle of the first band, by bisection."""
    low, high = -3.0, 5.0
    for _ in range(12):
        middle = (low + high) / 2
        spread = float((gibbs.gibbs(scores / math.exp(middle), k).spread / k).mean())
        low, high = (middle, high) if spread < sum(SPREAD_EARLY) / 2 else (low, middle)
    return (low + high) / 2
