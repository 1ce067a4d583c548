"""Stage 2: group-relative policy optimisation of the scorer against the frozen VLM.

For each question: one budget, G subsets sampled from the policy, one teacher-forced forward each. The advantage of a
subset is its reward relative to its group. The policy picks one token after another (policy.py). Several inner epochs
reuse a group under a clipped ratio whose logarithm is divided by sqrt(k), so that its spread is alike for all budgets.

Rollouts go to questions whose groups still differ (focus.py). A KL penalty anchors the scorer to the warm-up policy on
uniformly sampled questions, which need no rollouts. Without it the policy drifts on solved questions, which receive few
rollouts. Ours where the paper is silent; docs/paper.md says which is which.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, Scores
from grip_vlm.training.advantage import far_enough, group_advantage, move_means
from grip_vlm.training.bank import Bank
from grip_vlm.training.focus import sample_questions
from grip_vlm.training.rewards import Reward, mean_reward
from grip_vlm.training.run import DevScore, Run, pick_in_turn
from grip_vlm.training.settings import GRPOConfig
from grip_vlm.vlms import FrozenVLM

CLIP_HIGH, CLIP_LOW = 1.25, 0.8  # on the sqrt(k)-normalised ratio
BAND = (0.4, 0.8)  # the temperature starts at 1 and keeps `policy.disagreement` within this band


@dataclass(frozen=True)
class Anchor:
    """Questions with budgets, and the scores of the warm-up's scorer for them."""

    state: State
    k: Tensor  # (B,)
    scores: Scores


@dataclass(frozen=True)
class Rollout:
    """What one step of GRPO samples and learns from."""

    state: State
    k: Tensor  # (B,)
    rewards: Callable[[Tensor], tuple[Tensor, Tensor]]
    """masks (B, G, N) -> reward and exact match, (B, G) each"""
    anchor: Anchor
    progress: float
    """share of the steps that are done, in [0, 1)"""
    generator: torch.Generator


GRPOStep = Callable[[Run[GRPOConfig], Rollout], Tensor]
"""samples one group per question, makes `epochs` optimiser steps, and returns the deviation of the rewards, (B,)"""


def sequential_step(
    run: Run[GRPOConfig], rollout: Rollout, sees: Callable[[Scores], Scores] = lambda scores: scores
) -> Tensor:
    """A `GRPOStep` of the sequential policy; `sees` is what the policy reads of the scores."""
    state, k, anchor, generator = rollout.state, rollout.k, rollout.anchor, rollout.generator
    config, reference = run.config, sees(anchor.scores)
    temperature = math.exp(run.state.setdefault("log_temperature", 0.0))
    with torch.no_grad():
        order = policy.sample(sees(run.score(state, k)), k, config.group, temperature, generator)  # (B, G, K)
        mask = policy.as_mask(order, k, state.visual.shape[1])  # (B, G, N)
        reward, exact_match = rollout.rewards(mask)
        path = policy.sample(reference, anchor.k, 1, 1.0, generator)  # (B / 2, 1, K)
    advantage = group_advantage(reward, k, state.counts, run.state["scale"], run.accelerator.gather)
    old: Tensor | None = None
    for _ in range(config.epochs):
        log_prob = policy.log_prob(sees(run.score(state, k)), order, k, temperature)  # (B, G)
        old = log_prob.detach() if old is None else old  # the first epoch has the weights that sampled
        loss, clipped = clipped_loss(log_prob - old, advantage, k)
        kl = policy.kl(reference, sees(run.score(anchor.state, anchor.k)), path, anchor.k)[:, 0] / anchor.k  # (B / 2,)
        run.descend(loss + config.anchor * kl.mean())
    spread = run.mean(policy.disagreement(mask, k).mean())
    run.state["log_temperature"] = steer(run.state["log_temperature"], spread, *BAND)
    run.log(reward=float(reward.mean()), exact=float(exact_match.mean()), spread=spread, clip=clipped)
    return reward.std(1, correction=0)


def plackett_luce_step(run: Run[GRPOConfig], rollout: Rollout) -> Tensor:
    """An ablation: the sequential policy without redundancy."""
    return sequential_step(run, rollout, lambda scores: scores._replace(aversion=torch.zeros_like(scores.aversion)))


def train(
    vlm: FrozenVLM,
    scorer: Scorer,
    bank: Bank,
    dev_score: DevScore,
    config: GRPOConfig,
    others: Sequence[Bank] = (),
    *,
    step: GRPOStep = sequential_step,
    reward: Reward = mean_reward,
) -> Scorer:
    """Train `scorer` in place from its warm-up weights.

    Args:
        others: the same examples as other frozen VLMs encode them; rewards are then averaged over all VLMs.
        step: how subsets are sampled and learned from.
        reward: what subsets earn.

    Returns:
        The weights of the best dev score, which are saved in config.out.

    Raises:
        ValueError: `others` hold other examples, or other numbers of visual tokens.
    """
    refuse_other_examples(bank, others)
    pick_in_turn(scorer)
    state: dict[str, Any] = {"scale": {}, "spread": {}}
    run = Run(config, "grip", vlm, scorer, dev_score, state, others=[other.vlm for other in others], data=bank.digest)
    reference = copy.deepcopy(run.best).requires_grad_(False)  # the initial weights: nothing is resumed yet
    for number, rng, generator in run.steps():
        chosen, k, cells = sample_questions(bank, run.sample_k, rng, run.local_batch, run.state["spread"])
        anchor = sample_anchor(run, reference, bank, rng)
        judges = [(one.vlm, one.batch(chosen)) for one in (bank, *others)]

        def rewards(mask: Tensor, judges: Any = judges) -> tuple[Tensor, Tensor]:
            return reward(judges, mask, config.reward == "exact")

        rollout = Rollout(judges[0][1].encoded.state, k, rewards, anchor, number / config.steps, generator)
        sigma = step(run, rollout)
        gather = run.accelerator.gather
        move_means(run.state["spread"], gather(cells), gather(sigma), rate=0.2)
    return run.best


def refuse_other_examples(bank: Bank, others: Sequence[Bank]) -> None:
    """Raises ValueError if other VLMs see other examples, or other numbers of visual tokens."""
    if any([e.tokens for e in other.entries] != [e.tokens for e in bank.entries] for other in others):
        raise ValueError("other VLMs must see the same examples, with as many visual tokens in each")


@torch.no_grad()
def sample_anchor(run: Run[GRPOConfig], reference: Scorer, bank: Bank, rng: np.random.Generator) -> Anchor:
    """Half a batch of uniformly sampled questions."""
    state = bank.batch(rng.integers(0, len(bank), max(1, run.local_batch // 2)).tolist()).encoded.state
    k = run.sample_k(rng, state.counts)
    return Anchor(state, k, run.score(state, k, reference))


def clipped_loss(log_ratio: Tensor, advantage: Tensor, k: Tensor) -> tuple[Tensor, float]:
    """-mean of rho A, and the share of clipped samples, for (B, G) log-ratios and advantages and (B,) budgets.

    rho = exp(log ratio / sqrt(k)). A sample whose rho has moved far enough in the direction of its advantage has no
    further gradient.
    """
    rho = (log_ratio / k[:, None].sqrt()).exp()
    far = far_enough(rho, advantage, CLIP_LOW, CLIP_HIGH)
    return -(rho * advantage.float()).masked_fill(far, 0.0).mean(), float(far.float().mean())


def steer(log_temperature: float, spread: float, low: float, high: float) -> float:
    """log tau after one step: raised or lowered by a twentieth if the exploration `spread` is outside [low, high].

    The subsets of a group should neither coincide nor have nothing in common.
    """
    if spread < low:
        return min(log_temperature + 0.05, 5.0)
    if spread > high:
        return max(log_temperature - 0.05, -5.0)
    return log_temperature
