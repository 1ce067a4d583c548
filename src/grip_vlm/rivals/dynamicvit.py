"""DynamicViT's keep or drop (arXiv 2106.02034): a sampled decision per token, and a loss on the number of kept tokens.

    D_i  = 1[l_i + g_i > 0] forward, sigmoid(l_i + g_i) backward; g is the difference of two Gumbel samples
    loss = -log p(answer | exp(attention) * D) + 4 (sum_i sigmoid(l_i) / k - 1)^2

This is Gumbel-softmax at temperature 1 over keep and drop, straight-through. A dropped token is masked out of every
attention, as in the paper. At test time exactly k tokens are kept (`policy.choose`).

Deviations:

- One scorer before a frozen VLM replaces three predictors inside a backbone that is trained with them. The paper's
  distillation of tokens and outputs therefore has nothing to act on, and our scorer's logit takes the place of theirs.
- A dropped token cannot attend to itself either; this changes nothing, because no other token attends to it.
- The paper has one ratio rho and the loss 2 (mean D - rho)^2. Dynamic-LLaVA, its VLM form, has 100 (mean D - rho)^2 at
  rho = 0.2. Ours is the latter at that ratio, relative to the budget, so that a budget of 2 % weighs as much as one of
  20 %. It takes the expected number of kept tokens: with three tokens, most of the sampled number would be chance.
- The budget is an input of the scorer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grip_vlm.rivals import bernoulli
from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank
from grip_vlm.training.gates import Relaxation, Step, bias_of, gated_log_likelihood
from grip_vlm.training.run import DevScore
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import warmup
from grip_vlm.vlms import FrozenVLM

RATIO = 4.0  # 100 * 0.2^2


@dataclass(frozen=True)
class Config(WarmupConfig):
    """The keep-or-drop rival."""

    attention_share: float = 0.0


def keep_drop_loss(step: Step) -> Tensor:
    """The loss above, mean over the batch."""
    logits = bernoulli.logits(step.scores, step.k)
    bias = bias_of(decide(logits, step.generator))
    return RATIO * ratio_loss(logits, step.k) - gated_log_likelihood(step.vlm, step.batch, bias).mean()


def decide(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Decisions 0 or 1 per token, with the gradient of the sigmoid, (B, N)."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
    noisy = logits + torch.logit(uniform, eps=1e-6)
    soft = noisy.sigmoid()
    return (noisy > 0).to(soft.dtype) + (soft - soft.detach())


def ratio_loss(logits: Tensor, k: Tensor) -> Tensor:
    """(E[tokens kept] / k - 1)^2, mean over the batch, of logits (B, N)."""
    return (logits.sigmoid().sum(1) / k - 1).square().mean()


def relaxation(vlm: FrozenVLM, seed: int) -> Relaxation:
    """The relaxation for `warmup(relax=...)`."""
    return Relaxation("dynamicvit", keep_drop_loss)


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: Config) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, which are saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="dynamicvit", relax=relaxation(vlm, config.seed))
