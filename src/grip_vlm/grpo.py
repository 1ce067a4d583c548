"""Stage 2: group-relative policy optimisation of the scorer against the frozen VLM.

For each question: one budget, G subsets from the policy, one teacher-forced forward each; the advantage of a subset is
its reward relative to its group. Several inner epochs reuse a group under a clipped ratio whose logarithm is divided by
sqrt(d), d = sum pi (1 - pi): its spread is then the same for every budget. Rollouts go to questions whose groups differ
(focus.py); the warm-up policy is an exact KL anchor on questions drawn evenly, which need no rollouts, so that what is
solved already is not lost meanwhile. Ours where the paper is silent; docs/paper.md says which is which.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from grip_vlm import focus, plackett_luce, policy
from grip_vlm.bank import Bank, Batch
from grip_vlm.mdp import Group, State
from grip_vlm.policy import Gibbs
from grip_vlm.rewards import group_reward
from grip_vlm.scorer import Scorer
from grip_vlm.training import Run, RunConfig
from grip_vlm.vlms import FrozenVLM

CLIP_HIGH, CLIP_LOW = 1.07, 0.95  # on the sqrt(d)-normalised ratio; notes section 8
SPREAD_EARLY, SPREAD_LATE = (0.25, 0.5), (0.1, 0.25)  # d / k the temperature is steered to, from start to end


@dataclass(frozen=True)
class GRPOConfig(RunConfig):
    """Stage 2."""

    steps: int = 400
    rate: float = 5e-4
    """half the warm-up's: at 1e-3 the first fifty steps undo what imitation gave (docs/log.md)"""
    group: int = 8
    """subsets per question"""
    epochs: int = 2
    """times a group is used"""
    anchor: float = 0.2
    """weight of KL to the warm-up policy, per unit of d, on half a batch of questions drawn evenly"""
    policy: Literal["gibbs", "plackett_luce"] = "gibbs"
    reward: Literal["dense", "exact"] = "dense"
    """with `--policy plackett_luce --reward exact` this is the GRIP-like baseline"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group < 2 or self.epochs < 1 or self.anchor < 0:
            raise ValueError("a group needs at least 2 subsets, a run at least 1 epoch, and anchor >= 0")


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev: Bank, config: GRPOConfig) -> Scorer:
    """Train `scorer` in place from its warm-up weights; returns those of the best dev score, saved in config.out."""
    gibbs = config.policy == "gibbs"
    scorer.to(vlm.device).train().requires_grad_(True)  # as loaded, it is a frozen one on the CPU
    reference = copy.deepcopy(scorer).requires_grad_(False)
    state: dict[str, Any] = {"log_temperature": None, "scale": {}, "spread": {}}
    run = Run(config, "grip" if gibbs else "grip_like", vlm, scorer, dev, state)
    for step, rng, generator in run.steps():
        if gibbs:
            chosen, k, cells = focus.draw(bank, config, rng, run.local_batch, run.state["spread"])
            anchor = draw_anchor(run, reference, bank, config, rng)
            sigma = gibbs_step(run, config, anchor, bank.batch(chosen), k, step, generator)
            focus.update(run.state["spread"], run.accelerator.gather(cells), run.accelerator.gather(sigma))
        else:
            batch = bank.batch(rng.integers(0, len(bank), run.local_batch).tolist())
            k = config.draw_k(rng, batch.encoded.state.counts)
            plackett_luce_step(run, config, batch, k, generator)
    return run.best


@dataclass(frozen=True)
class Anchor:
    """Questions with their budgets, and the warm-up policy on them."""

    state: State
    k: Tensor  # (B,)
    law: Gibbs


@torch.no_grad()
def draw_anchor(run: Run, reference: Scorer, bank: Bank, config: GRPOConfig, rng: np.random.Generator) -> Anchor:
    """Half a batch of questions, drawn evenly."""
    state = bank.batch(rng.integers(0, len(bank), max(1, run.local_batch // 2)).tolist()).encoded.state
    k = config.draw_k(rng, state.counts)
    with run.accelerator.autocast():
        scores = reference(state, k, discount=False)
    return Anchor(state, k, policy.gibbs(scores.float(), k))


def gibbs_step(
    run: Run,
    config: GRPOConfig,
    anchor: Anchor,
    batch: Batch,
    k: Tensor,
    step: int,
    generator: torch.Generator,
) -> Tensor:
    """Roll out one group per question, then descend `epochs` times; returns the deviation of rewards, (B,)."""
    state: State = batch.encoded.state
    with torch.no_grad():
        scores = run.score(state, k)
        if run.state["log_temperature"] is None:
            run.state["log_temperature"] = run.mean(torch.tensor(first_temperature(scores, k), device=k.device))
        temperature = math.exp(run.state["log_temperature"])
        old = policy.gibbs(scores / temperature, k)
        drawn = policy.sample(old, config.group, generator)  # (B, G, N)
        reward, exact = group_reward(run.vlm, batch, drawn, config.reward == "exact")
    group = Group(drawn, reward)
    advantage = group_advantage(group.reward, k, state.counts, run.state["scale"], run.accelerator.gather)
    clipped = 0.0
    for _ in range(config.epochs):
        scores = run.score(state, k) / temperature
        gradient, clipped = gibbs_gradient(policy.gibbs(scores, k), old, group.mask, advantage)
        anchored = run.score(anchor.state, anchor.k)
        pull = anchor_gradient(policy.gibbs(anchored, anchor.k), anchor.law)
        run.descend(surrogate(scores, gradient) + config.anchor * surrogate(anchored, pull))
    spread = run.mean((old.spread / k).mean())
    run.state["log_temperature"] = steer(run.state["log_temperature"], spread, step / config.steps)
    run.log(reward=float(reward.mean()), exact=float(exact.mean()), spread=spread, clip=clipped)
    return reward.std(1, correction=0)


def gibbs_gradient(law: Gibbs, old: Gibbs, mask: Tensor, advantage: Tensor) -> tuple[Tensor, float]:
    """d loss / d theta, (B, N), and the share of clipped subsets.

    -(1/G) sum_g m_g rho_g A_g (z_g - pi) / sqrt(d_old), with rho_g = exp((log pi(z_g) - log pi_old(z_g)) / sqrt(d_old))
    and m_g = 0 where rho_g has already moved far enough in the direction of its advantage.
    """
    d = old.spread.clamp(min=1e-3)[:, None]  # (B, 1)
    ratio = torch.exp((policy.log_prob(law, mask) - policy.log_prob(old, mask)) / d.sqrt())  # (B, G)
    far = ((advantage > 0) & (ratio > CLIP_HIGH)) | ((advantage < 0) & (ratio < CLIP_LOW))
    push = torch.where(far, 0, ratio * advantage)[..., None] * (mask.double() - law.inclusion[:, None])  # (B, G, N)
    return -push.mean(1) / d.sqrt(), float(far.float().mean())


def anchor_gradient(law: Gibbs, anchor: Gibbs) -> Tensor:
    """d KL(pi || pi_ref) / d theta / d_ref, (B, N): Cov(z) (theta - theta_ref) / d_ref."""
    away = torch.where(torch.isfinite(law.scores), law.scores - anchor.scores, 0)
    return policy.covariance_times(law, away) / anchor.spread.clamp(min=1e-3)[:, None]


def surrogate(scores: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient in the scores is `gradient` / B."""
    finite = scores.masked_fill(~torch.isfinite(scores), 0.0)
    return (finite * gradient.to(scores.dtype)).sum(1).mean()


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


def first_temperature(scores: Tensor, k: Tensor) -> float:
    """log tau at which the warm-up policy explores in the middle of the first band, by bisection."""
    low, high = -3.0, 5.0
    for _ in range(12):
        middle = (low + high) / 2
        spread = float((policy.gibbs(scores / math.exp(middle), k).spread / k).mean())
        low, high = (middle, high) if spread < sum(SPREAD_EARLY) / 2 else (low, middle)
    return (low + high) / 2


def steer(log_temperature: float, spread: float, progress: float) -> float:
    """Move log tau so that the exploration `spread`, d / k, stays in a band that narrows over the run."""
    low, high = (early + (late - early) * progress for early, late in zip(SPREAD_EARLY, SPREAD_LATE, strict=True))
    if spread < low:
        return min(log_temperature + 0.05, 5.0)
    if spread > high:
        return max(log_temperature - 0.05, -5.0)
    return log_temperature


def plackett_luce_step(
    run: Run,
    config: GRPOConfig,
    batch: Batch,
    k: Tensor,
    generator: torch.Generator,
) -> None:
    """The GRIP-like baseline: ordered draws, token-level clipped ratios, group-normalised reward, no anchor.

    One budget per step, since ordered draws of different lengths do not batch: the first question's.
    """
    state: State = batch.encoded.state
    keep = min(int(k[0]), int(state.counts.min()))
    same = torch.full_like(k, keep)
    with torch.no_grad():
        old_scores = run.score(state, same)
        order = plackett_luce.sample(old_scores, keep, config.group, generator)  # (B, G, k)
        old = plackett_luce.step_log_probs(old_scores, order)
        drawn = torch.zeros(*order.shape[:2], state.visual.shape[1], dtype=torch.bool, device=order.device)
        drawn = drawn.scatter(2, order, True)
        reward, exact = group_reward(run.vlm, batch, drawn, config.reward == "exact")
        advantage = (reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-4)  # (B, G)
    for _ in range(config.epochs):
        ratio = (plackett_luce.step_log_probs(run.score(state, same), order) - old).exp()  # (B, G, k)
        weighted = advantage[..., None] * ratio
        clipped = advantage[..., None] * ratio.clamp(0.8, 1.2)
        run.descend(-torch.minimum(weighted, clipped).mean())
    run.log(reward=float(reward.mean()), exact=float(exact.mean()))
