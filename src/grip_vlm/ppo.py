"""TPRL-like rival (arXiv 2603.13394): PPO over independent keeps with a critic, the budget in the reward.

    r = exact match - 0.5 min(1, |K / k - 1|),  A = r - V(s),  rho = pi(z) / pi_old(z)
    loss = -E min(rho A, clip(rho, 0.8, 1.2) A) + 0.5 (V - r)^2 - 0.01 H(pi) / N

Starts, like the paper, from a scorer that imitates demonstrations under a Bernoulli likelihood (`warmup --imitation
bernoulli`); 64 questions a step, 4 epochs, its weights of value and entropy. At test time k are kept.

Deviations: one step instead of three with probabilities halved from step to step, as the paper itself prunes at test
time; the advantage (generalised, gamma 0.99 and lambda 0.95 there) is then r - V. The reward of the unpruned answer is
not subtracted: it is constant for a question, and the critic knows it. The demonstrations are our attention targets at
the budget drawn. The paper rewards whatever is dropped (weight 0.1) and has no budget; here a budget is the scorer's
input, and missing it on either side costs: at 0.1 keeping twice 2 % would pay. The critic is a network of its own, so
that the scorer is the same as everybody's; the rate is 3e-4; the epochs take the whole batch; advantages
are normalised over it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grip_vlm import bernoulli
from grip_vlm.advantage import clipped_gain
from grip_vlm.bank import Bank, Batch
from grip_vlm.mdp import State
from grip_vlm.rewards import group_reward
from grip_vlm.scorer import Scorer
from grip_vlm.training import Run, RunConfig, seeded
from grip_vlm.vlms import FrozenVLM

VALUE, ENTROPY, MISS = 0.5, 0.01, 0.5


@dataclass(frozen=True)
class PPOConfig(RunConfig):
    """The TPRL-like rival of stage 2."""

    steps: int = 400
    batch: int = 64
    rate: float = 3e-4
    epochs: int = 4
    """times a batch of draws is used"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")


class Critic(nn.Module):
    """V(s): the reward to expect, from the means of visual and question tokens and the budget."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * dim + 1, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, state: State, k: Tensor) -> Tensor:
        """(B,) of a state and budgets k (B,)."""
        means = [mean(state.visual, state.visual_mask), mean(state.question, state.question_mask)]
        share = torch.log(k / state.counts)[:, None]
        value: Tensor = self.body(torch.cat([*means, share], dim=1))[:, 0]
        return value


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Normalised mean of the real tokens, (B, D), of (B, M, D) and (B, M); zeros where there are none."""
    total = (tokens.float() * mask[..., None]).sum(1)
    return F.layer_norm(total / mask.sum(1, keepdim=True).clamp(min=1), total.shape[1:])


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev: Bank, config: PPOConfig) -> Scorer:
    """Train `scorer` in place from its imitation; returns the weights of the best dev score, saved in config.out."""
    critic = seeded(config.seed, lambda: Critic(vlm.dim)).to(vlm.device)
    scorer.config = replace(scorer.config, one_pass=False)
    run = Run(config, "tprl", vlm, scorer, dev, companion=critic)
    for _, rng, generator in run.steps():
        batch = bank.batch(rng.integers(0, len(bank), run.local_batch).tolist())
        k = config.draw_k(rng, batch.encoded.state.counts)
        ppo_step(run, batch, k, config.epochs, generator)
    return run.best


def ppo_step(run: Run, batch: Batch, k: Tensor, epochs: int, generator: torch.Generator) -> None:
    """One draw per question, then `epochs` descents of scorer and critic."""
    state: State = batch.encoded.state
    with torch.no_grad():
        before = bernoulli.logits(run.score(state, k).importance, k)
        kept = bernoulli.sample(before, generator)  # (B, N)
        old = bernoulli.log_prob(before, kept)  # (B,)
        exact = group_reward(run.vlm, batch, kept[:, None], exact_only=True)[1][:, 0]
        reward = exact - MISS * missed(kept, k)
        advantage = advantages(reward, run.beside(state, k))
    for _ in range(epochs):
        logits = bernoulli.logits(run.score(state, k).importance, k)
        gain = clipped_gain(bernoulli.log_prob(logits, kept) - old, advantage).mean()
        error = (run.beside(state, k) - reward).square().mean()
        chance = (bernoulli.entropy(logits) / state.counts).mean()
        run.descend(VALUE * error - gain - ENTROPY * chance)
    spent = kept.sum(1) / k
    run.log(reward=float(reward.mean()), exact=float(exact.mean()), spent=float(spent.mean()), value=error.item())


def missed(kept: Tensor, k: Tensor) -> Tensor:
    """min(1, |K / k - 1|), (B,): how far draws (B, N) are from their budgets k (B,)."""
    return (kept.sum(1) / k - 1).abs().clamp(max=1)


def advantages(reward: Tensor, value: Tensor) -> Tensor:
    """r - V, (B,), with mean 0 and deviation 1 over the batch; zero where all are alike."""
    surprise = reward - value
    return (surprise - surprise.mean()) / (surprise.std(correction=0) + 1e-4)
