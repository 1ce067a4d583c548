"""Stage 2: group-relative policy optimisation of the scorer against the frozen VLM.

For each question: one budget, G subsets from the policy, one teacher-forced forward each; the advantage of a subset is
its reward relative to its group. The policy takes one token after another (sequential.py). Several inner epochs reuse a
group under a clipped ratio whose logarithm is divided by sqrt(k): its spread is then alike for all budgets.
Rollouts go to questions whose groups differ (focus.py); the warm-up policy is a KL anchor on questions drawn evenly,
which need no rollouts, so that what is solved already is not lost meanwhile. Ours where the paper is silent;
docs/paper.md says which is which.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from grip_vlm import focus, sequential
from grip_vlm.advantage import far_enough, group_advantage
from grip_vlm.bank import Bank, Batch
from grip_vlm.exploration import steer
from grip_vlm.grpo_ordered import ordered_step
from grip_vlm.grpo_sets import gibbs_step
from grip_vlm.mdp import Group, State
from grip_vlm.rewards import mean_reward
from grip_vlm.scorer import Scorer, Scores
from grip_vlm.training import Run, RunConfig
from grip_vlm.vlms import FrozenVLM

CLIP_HIGH, CLIP_LOW = 1.25, 0.8  # on the sqrt(k)-normalised ratio
BAND = (0.4, 0.8)  # `sequential.disagreement` the temperature is steered to; it starts at 1


@dataclass(frozen=True)
class GRPOConfig(RunConfig):
    """Stage 2."""

    steps: int = 200
    rate: float = 5e-4
    """half the warm-up's: at 1e-3 the first fifty steps undo what imitation gave (docs/log.md)"""
    group: int = 8
    """subsets per question"""
    epochs: int = 2
    """times a group is used"""
    anchor: float = 0.2
    """weight of KL to the warm-up policy, per token kept, on half a batch of questions drawn evenly"""
    policy: Literal["sequential", "gibbs", "plackett_luce", "textbook"] = "sequential"
    """one token after another, each less what it repeats; or sets; or one after another by importance alone; or the
    latter by textbook GRPO, which with `--reward exact --anchor 0.04` is the baseline `grip_like`"""
    reward: Literal["dense", "exact"] = "dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group < 2 or self.epochs < 1 or self.anchor < 0:
            raise ValueError("a group needs at least 2 subsets, a run at least 1 epoch, and anchor >= 0")


def train(
    vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev: Bank, config: GRPOConfig, others: Sequence[Bank] = ()
) -> Scorer:
    """Train `scorer` in place from its warm-up weights; returns those of the best dev score, saved in config.out.

    Args:
        others: the same examples as other frozen VLMs see them; rewards are then the mean over all of them.

    Raises:
        ValueError: `others` hold other examples, or other numbers of visual tokens.
    """
    if any([e.tokens for e in seen.entries] != [e.tokens for e in bank.entries] for seen in others):
        raise ValueError("other VLMs must see the same examples, with as many visual tokens in each")
    scorer.config = replace(scorer.config, one_pass=False)  # one that a relaxation trained had it
    start = None if config.policy == "gibbs" else 0.0
    state: dict[str, Any] = {"log_temperature": start, "scale": {}, "spread": {}}
    method = "grip_like" if config.policy == "textbook" else "grip"
    run = Run(config, method, vlm, scorer, dev, state, others=[seen.vlm for seen in others])
    reference = copy.deepcopy(run.best).requires_grad_(False)  # nothing has moved or been resumed yet

    def judged_by(chosen: Sequence[int]) -> list[tuple[FrozenVLM, Batch]]:
        return [(seen.vlm, seen.batch(chosen)) for seen in (bank, *others)]

    for step, rng, generator in run.steps():
        if config.policy == "textbook":
            judges = judged_by(rng.integers(0, len(bank), run.local_batch).tolist())
            k = config.draw_k(rng, judges[0][1].encoded.state.counts)
            ordered_step(run, config, reference, judges, k, generator)
            continue
        chosen, k, cells = focus.draw(bank, config, rng, run.local_batch, run.state["spread"])
        anchor = draw_anchor(run, reference, bank, config, rng)
        if config.policy == "gibbs":
            sigma = gibbs_step(run, config, anchor, judged_by(chosen), k, step / config.steps, generator)
        else:
            sigma = sequential_step(run, config, anchor, judged_by(chosen), k, generator)
        focus.update(run.state["spread"], run.accelerator.gather(cells), run.accelerator.gather(sigma))
    return run.best


@dataclass(frozen=True)
class Anchor:
    """Questions with their budgets, and what the scorer of the warm-up says of them."""

    state: State
    k: Tensor  # (B,)
    scores: Scores


@torch.no_grad()
def draw_anchor(run: Run, reference: Scorer, bank: Bank, config: GRPOConfig, rng: np.random.Generator) -> Anchor:
    """Half a batch of questions, drawn evenly."""
    state = bank.batch(rng.integers(0, len(bank), max(1, run.local_batch // 2)).tolist()).encoded.state
    k = config.draw_k(rng, state.counts)
    return Anchor(state, k, drawn_by(config, run.score(state, k, reference)))


def drawn_by(config: GRPOConfig, scores: Scores) -> Scores:
    """What the policy makes of scores: Plackett-Luce knows of no repeats."""
    alone = config.policy == "plackett_luce"
    return scores._replace(aversion=torch.zeros_like(scores.aversion)) if alone else scores


def sequential_step(
    run: Run,
    config: GRPOConfig,
    anchor: Anchor,
    judges: Sequence[tuple[FrozenVLM, Batch]],
    k: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Roll out one group per question, then descend `epochs` times; returns the deviation of rewards, (B,)."""
    state: State = judges[0][1].encoded.state
    temperature = math.exp(run.state["log_temperature"])

    def look(state: State, k: Tensor) -> Scores:
        return drawn_by(config, run.score(state, k))

    with torch.no_grad():
        scores = look(state, k)
        order = sequential.sample(scores, k, config.group, temperature, generator)  # (B, G, K)
        mask = sequential.kept(order, k, state.visual.shape[1])  # (B, G, N)
        reward, exact = mean_reward(judges, mask, config.reward == "exact")
        group = Group(mask, reward)
        path = sequential.sample(anchor.scores, anchor.k, 1, 1.0, generator)  # (B / 2, 1, K)
    advantage = group_advantage(group.reward, k, state.counts, run.state["scale"], run.accelerator.gather)
    old: Tensor | None = None
    for _ in range(config.epochs):
        log_prob = sequential.log_prob(look(state, k), order, k, temperature)  # (B, G)
        old = log_prob.detach() if old is None else old  # the first epoch starts from the weights that drew
        loss, clipped = clipped_loss(log_prob - old, advantage, k)
        now = look(anchor.state, anchor.k)
        away = sequential.divergence(anchor.scores, now, path, anchor.k)[:, 0] / anchor.k  # (B / 2,)
        run.descend(loss + config.anchor * away.mean())
    spread = run.mean(sequential.disagreement(group.mask, k).mean())
    run.state["log_temperature"] = steer(run.state["log_temperature"], spread, *BAND)
    run.log(reward=float(reward.mean()), exact=float(exact.mean()), spread=spread, clip=clipped)
    return group.reward.std(1, correction=0)


def clipped_loss(log_ratio: Tensor, advantage: Tensor, k: Tensor) -> tuple[Tensor, float]:
    """-mean of rho A, and the share of clipped draws, for (B, G) log-ratios and advantages and (B,) budgets.

    rho = exp(log ratio / sqrt(k)); a draw whose rho is far enough in the direction of its advantage gets no more.
    """
    rho = (log_ratio / k[:, None].sqrt()).exp()
    far = far_enough(rho, advantage, CLIP_LOW, CLIP_HIGH)
    return -(rho * advantage.float()).masked_fill(far, 0.0).mean(), float(far.float().mean())
