"""Straight-through Gumbel top-k: the same scorer trained through hard gates with soft gradients.

    hard = top k of (theta + Gumbel noise) / tau,  gates hard + (g - stop(g)),  g = sigmoid(. / tau + lambda) with sum k

Straight-through as in Jang et al. (arXiv 1611.01144); the top k of noisy scores as in Kool et al. (arXiv 1903.06059).
Ours: the soft part is the soft top-k gate, and tau falls from 1 to 0.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grip_vlm.policy import gumbel
from grip_vlm.scorer import Scorer
from grip_vlm.subsets import top_k
from grip_vlm.training import gibbs
from grip_vlm.training.bank import Bank
from grip_vlm.training.gates import Relaxation, Step, bias_of, gated_log_likelihood
from grip_vlm.training.run import DevScore
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import warmup
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Config(WarmupConfig):
    """The straight-through rival."""

    attention_share: float = 0.0


def straight_through_loss(step: Step) -> Tensor:
    """Negative log-likelihood of the answer through straight-through gates."""
    valid = torch.isfinite(step.scores)
    temperature = 1.0 - 0.7 * step.progress
    gate = straight_through_gate(step.scores, step.k, step.generator, temperature).masked_fill(~valid, 0.0)
    return -gated_log_likelihood(step.vlm, step.batch, gate).mean()


def straight_through_gate(scores: Tensor, k: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Gumbel top-k with hard gates forward and soft gradients backward: log gates, (B, N)."""
    noisy = (scores + gumbel(scores.shape, generator, scores.device)) / temperature
    soft = gibbs.soft_top_k(noisy, k).exp()
    hard = top_k(noisy.detach(), k).float()
    return bias_of(hard + (soft - soft.detach()))


def relaxation(vlm: FrozenVLM, seed: int) -> Relaxation:
    """The relaxation for `warmup(relax=...)`."""
    return Relaxation("st_gumbel", straight_through_loss)


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: Config) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, which are saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="st_gumbel", relax=relaxation(vlm, config.seed))
