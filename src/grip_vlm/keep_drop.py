"""DynamicViT's keep or drop (arXiv 2106.02034): a decision per token, drawn, and a loss on how many are kept.

    D_i  = 1[l_i + g_i > 0] forward, sigmoid(l_i + g_i) backward; g is the difference of two Gumbel draws
    loss = -log p(answer | exp(attention) * D) + 4 (sum_i sigmoid(l_i) / k - 1)^2

This is Gumbel-softmax at temperature 1 over keep and drop, straight-through. A dropped token is masked out of every
attention, as in the paper; at test time exactly k are kept (`sequential.choose`).

Deviations: one scorer before a frozen VLM instead of three predictors inside a backbone that is trained with them, so
the paper's distillation of tokens and outputs has nothing to act on; our scorer's logit in the place of theirs; a
dropped token does not see itself either, which nothing notices since nobody looks at it. The paper has one ratio rho
and 2 (mean D - rho)^2; Dynamic-LLaVA, its VLM form, 100 (mean D - rho)^2 at rho = 0.2. Ours is the latter at that
ratio, relative to the budget, so that a budget of 2 % is minded as much as one of 20 %, and of the expected number
kept, since for three tokens the chance of the draw would be most of it; the budget is the scorer's input.
"""

import torch
from torch import Tensor

from grip_vlm import bernoulli, relaxation
from grip_vlm.bank import Batch
from grip_vlm.vlms import FrozenVLM

RATIO = 4.0  # 100 * 0.2^2


def keep_drop_loss(vlm: FrozenVLM, batch: Batch, scores: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
    """The loss above, mean over the batch, of scores (B, N) and budgets k (B,)."""
    logits = bernoulli.logits(scores, k)
    likelihood = relaxation.gated_log_likelihood(vlm, batch, relaxation.bias_of(decide(logits, generator)))
    return RATIO * ratio_loss(logits, k) - likelihood.mean()


def decide(logits: Tensor, generator: torch.Generator) -> Tensor:
    """0 or 1 for each token with the gradient of the sigmoid, (B, N)."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
    noisy = logits + torch.logit(uniform, eps=1e-6)
    soft = noisy.sigmoid()
    return (noisy > 0).to(soft.dtype) + (soft - soft.detach())


def ratio_loss(logits: Tensor, k: Tensor) -> Tensor:
    """(E[tokens kept] / k - 1)^2, mean over the batch, of logits (B, N)."""
    return (logits.sigmoid().sum(1) / k - 1).square().mean()
