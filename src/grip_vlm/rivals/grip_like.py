"""Our reading of the paper: textbook GRPO of ordered Plackett-Luce samples, with exact match as the reward.

Group-normalised rewards, a clipped ratio for every pick, and a penalty on leaving the warm-up, as in DeepSeekMath
(arXiv 2402.03300, section 4.1.1, where beta is 0.04). Questions are sampled uniformly. Nothing that is ours enters: no
redundancy, no dense reward, no choice of questions, no ratio of whole selections.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.rivals import plackett_luce
from grip_vlm.scorer import Scorer
from grip_vlm.training.advantage import clipped_gain
from grip_vlm.training.bank import Bank
from grip_vlm.training.grpo import refuse_other_examples
from grip_vlm.training.rewards import Judges, Reward, mean_reward
from grip_vlm.training.run import DevScore, Run, pick_in_turn
from grip_vlm.training.settings import GRPOConfig
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Config(GRPOConfig):
    """Textbook GRPO. `anchor` is beta, the weight of the KL penalty per pick."""

    rate: float = 3e-4
    epochs: int = 4
    anchor: float = 0.04
    reward: Literal["dense", "exact"] = "exact"


def train(
    vlm: FrozenVLM,
    scorer: Scorer,
    bank: Bank,
    dev_score: DevScore,
    config: GRPOConfig,
    others: Sequence[Bank] = (),
    *,
    reward: Reward = mean_reward,
) -> Scorer:
    """As `training.grpo.train`."""
    refuse_other_examples(bank, others)
    pick_in_turn(scorer)
    judging = [other.vlm for other in others]
    run = Run(config, "grip_like", vlm, scorer, dev_score, others=judging, data=bank.digest)
    reference = copy.deepcopy(run.best).requires_grad_(False)  # the initial weights: nothing is resumed yet
    for _, rng, generator in run.steps():
        chosen = rng.integers(0, len(bank), run.local_batch).tolist()
        judges = [(one.vlm, one.batch(chosen)) for one in (bank, *others)]
        k = run.sample_k(rng, judges[0][1].encoded.state.counts)
        ordered_step(run, reference, judges, k, reward, generator)
    return run.best


def ordered_step(
    run: Run[GRPOConfig], reference: Scorer, judges: Judges, k: Tensor, reward: Reward, generator: torch.Generator
) -> None:
    """Sample one group per question, then make `epochs` optimiser steps."""
    state, config = judges[0][1].encoded.state, run.config
    with torch.no_grad():
        scores = run.score(state, k).importance
        order = plackett_luce.sample(scores, int(k.max()), config.group, generator)  # (B, G, K), of which k count
        old = plackett_luce.step_log_probs(scores, order)
        anchor = plackett_luce.step_log_probs(run.score(state, k, reference).importance, order)
        earned, exact_match = reward(judges, policy.as_mask(order, k, scores.shape[1]), config.reward == "exact")
        advantage = (earned - earned.mean(1, keepdim=True)) / (earned.std(1, keepdim=True) + 1e-4)  # (B, G)
    counts = policy.within_budget(order, k)
    for _ in range(config.epochs):
        picks = plackett_luce.step_log_probs(run.score(state, k).importance, order)  # (B, G, K)
        gain = clipped_gain(picks - old, advantage[..., None]) - config.anchor * kl_estimate(anchor - picks)
        run.descend(-(gain.masked_fill(~counts, 0.0).sum(2) / k[:, None]).mean())
    run.log(reward=float(earned.mean()), exact=float(exact_match.mean()))


def kl_estimate(log_ratio: Tensor) -> Tensor:
    """r - log r - 1 with r = p_ref / p: never negative, and its mean over samples from p is KL(p || p_ref)."""
    return log_ratio.exp() - log_ratio - 1
