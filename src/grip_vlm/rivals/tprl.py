"""TPRL-like rival (arXiv 2603.13394): PPO over independent keeps with a critic, the budget in the reward.

    r = exact match - 0.5 min(1, |K / k - 1|),  A = r - V(s),  rho = pi(z) / pi_old(z)
    loss = -E min(rho A, clip(rho, 0.8, 1.2) A) + 0.5 (V - r)^2 - 0.01 H(pi) / N

Like the paper, it starts from a scorer that imitates demonstrations under a Bernoulli likelihood (`train_start`). It
takes 64 questions a step, 4 epochs, and the paper's weights of value and entropy. At test time k tokens are kept.

Deviations:

- One step replaces three steps with probabilities halved from step to step, because the paper itself prunes at test
  time. The advantage (generalised, gamma 0.99 and lambda 0.95 there) is then r - V.
- The reward of the unpruned answer is not subtracted: it is constant for a question, and the critic knows it.
- The demonstrations are our attention targets at the sampled budget.
- The paper rewards every dropped token (weight 0.1) and has no budget. Here the budget is an input of the scorer, and
  deviating from it in either direction is penalised; with the paper's weight of 0.1, keeping twice a 2 % budget would
  still pay off.
- The critic is a network of its own, so that the scorer is the same as in every other method.
- The rate is 3e-4 (1e-5 and 3e-5 in the authors' code, over 12,800 rollouts). An epoch takes the whole batch, and
  advantages are normalised over it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grip_vlm.mdp import State
from grip_vlm.rivals import bernoulli
from grip_vlm.scorer import Scorer
from grip_vlm.training.advantage import clipped_gain
from grip_vlm.training.bank import Bank, Batch
from grip_vlm.training.rewards import Reward, mean_reward
from grip_vlm.training.run import DevScore, Run, pick_in_turn, seeded
from grip_vlm.training.settings import RunConfig, WarmupConfig
from grip_vlm.training.warmup import teacher_top_k, warmup
from grip_vlm.vlms import FrozenVLM

VALUE, ENTROPY, MISS = 0.5, 0.01, 0.5


@dataclass(frozen=True)
class StartConfig(WarmupConfig):
    """The imitation that the TPRL-like rival starts from."""

    attention_share: float = 1.0


@dataclass(frozen=True)
class Config(RunConfig):
    """The TPRL-like rival of stage 2."""

    steps: int = 400
    batch: int = 64
    rate: float = 3e-4
    epochs: int = 4
    """Optimiser steps per batch of samples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")


class Critic(nn.Module):
    """V(s): the expected reward, from the means of visual and question tokens and the budget."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * dim + 1, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, state: State, k: Tensor) -> Tensor:
        """The value of a state at budgets k (B,), (B,)."""
        means = [mean(state.visual, state.visual_mask), mean(state.question, state.question_mask)]
        share = torch.log(k / state.counts)[:, None]
        value: Tensor = self.body(torch.cat([*means, share], dim=1))[:, 0]
        return value


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Normalised mean of the real tokens, (B, D), of (B, M, D) and (B, M); zeros where there are none."""
    total = (tokens.float() * mask[..., None]).sum(1)
    return F.layer_norm(total / mask.sum(1, keepdim=True).clamp(min=1), total.shape[1:])


def bernoulli_imitation(importance: Tensor, k: Tensor, teacher: Tensor) -> Tensor:
    """-log of the probability that independent keeps give the teacher's top k, per token kept, mean over the batch."""
    chosen = teacher_top_k(importance, k, teacher)
    return -(bernoulli.log_prob(bernoulli.logits(importance, k), chosen) / k).mean()


def train_start(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: StartConfig) -> Scorer:
    """Train `scorer` in place by imitation; returns the weights of the best dev score, saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="tprl_start", imitate=bernoulli_imitation)


def train(
    vlm: FrozenVLM,
    scorer: Scorer,
    bank: Bank,
    dev_score: DevScore,
    config: Config,
    *,
    reward: Reward = mean_reward,
) -> Scorer:
    """Train `scorer` in place from its imitation; returns the weights of the best dev score, saved in config.out."""
    critic = seeded(config.seed, lambda: Critic(vlm.dim)).to(vlm.device)
    pick_in_turn(scorer)
    run = Run(config, "tprl", vlm, scorer, dev_score, auxiliary=critic, data=bank.digest)
    for _, rng, generator in run.steps():
        batch = bank.batch(rng.integers(0, len(bank), run.local_batch).tolist())
        k = run.sample_k(rng, batch.encoded.state.counts)
        ppo_step(run, batch, k, reward, generator)
    return run.best


def ppo_step(run: Run[Config], batch: Batch, k: Tensor, reward: Reward, generator: torch.Generator) -> None:
    """One sample per question, then `epochs` optimiser steps of scorer and critic."""
    state, critic = batch.encoded.state, run.auxiliary_model
    with torch.no_grad():
        before = bernoulli.logits(run.score(state, k).importance, k)
        kept = bernoulli.sample(before, generator)  # (B, N)
        old = bernoulli.log_prob(before, kept)  # (B,)
        exact_match = reward([(run.vlm, batch)], kept[:, None], True)[1][:, 0]
        earned = exact_match - MISS * missed(kept, k)
        advantage = advantages(earned, critic(state, k))
    for _ in range(run.config.epochs):
        logits = bernoulli.logits(run.score(state, k).importance, k)
        gain = clipped_gain(bernoulli.log_prob(logits, kept) - old, advantage).mean()
        error = (critic(state, k) - earned).square().mean()
        entropy = (bernoulli.entropy(logits) / state.counts).mean()
        run.descend(VALUE * error - gain - ENTROPY * entropy)
    spent = (kept.sum(1) / k).mean()
    run.log(reward=float(earned.mean()), exact=float(exact_match.mean()), spent=float(spent), value=error.item())


def missed(kept: Tensor, k: Tensor) -> Tensor:
    """min(1, |K / k - 1|), (B,): how far samples (B, N) are from their budgets k (B,)."""
    return (kept.sum(1) / k - 1).abs().clamp(max=1)


def advantages(reward: Tensor, value: Tensor) -> Tensor:
    """r - V, (B,), normalised to mean 0 and deviation 1 over the batch; zero if all are equal."""
    surprise = reward - value
    return (surprise - surprise.mean()) / (surprise.std(correction=0) + 1e-4)
