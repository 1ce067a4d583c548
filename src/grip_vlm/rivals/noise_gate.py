"""Importance as a gate on noise (AutoSelect, arXiv 2603.07135; DiffPrune, arXiv 2605.28051): closed tokens are noise.

    z~_i = sqrt(g_i) z_i + sqrt(1 - g_i) e_i,  e ~ N(0, 1),  g = sigmoid(theta + lambda) with sum k
    z^_i = z~_i + (1 - g_i) f(z~_i, g_i),      loss = -log p(answer | z^)

z is the token in units of the batch's mean and deviation per channel, so that noise has the size of a token. The frozen
VLM reads all N tokens; the gate limits how much information a token carries. At test time k tokens are kept unchanged
(`policy.choose`). The only loss is the answer's, as in both papers.

Only the abstracts are known (AutoSelect's repository is a README): a variance-preserving gate driven by importance, a
soft top-k for the budget, a denoiser with diagonal attention that only training has. Ours where they are silent:

- Mean and deviation are taken over the batch, because those of one image would leak information about it.
- The soft top-k is VisionSelector's.
- Attention of each token to itself alone is a map of single tokens, here f: two layers that know the gate. f is zero at
  first, and zero for open gates, because kept tokens get no denoiser.
- Our scorer and its budget are the input; theirs has one ratio per training.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from grip_vlm.mdp import Action
from grip_vlm.scorer import Scorer
from grip_vlm.training import gibbs
from grip_vlm.training.bank import Bank
from grip_vlm.training.fit import with_gradient
from grip_vlm.training.gates import Relaxation, Step, answer_log_likelihood
from grip_vlm.training.run import DevScore, seeded
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import warmup
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Config(WarmupConfig):
    """The noise-gate rival."""

    attention_share: float = 0.0


class Denoiser(nn.Module):
    """z~ + (1 - g) f(z~, g), for single tokens; used only in training."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim + 1, width), nn.Linear(width, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, noisy: Tensor, gate: Tensor) -> Tensor:
        """noisy (B, N, D), gate (B, N) -> (B, N, D)."""
        gated = torch.cat([noisy, gate[..., None]], dim=-1)  # (B, N, D + 1)
        guess: Tensor = self.outer(nn.functional.gelu(self.inner(gated)))
        return noisy + (1 - gate)[..., None] * guess


def noise_gate_loss(step: Step) -> Tensor:
    """The answer's negative log-likelihood from noisy tokens, mean over the batch."""
    prompt, mask = step.batch.encoded.prompt, step.batch.encoded.state.visual_mask
    gate = gibbs.soft_top_k(step.scores, step.k).exp()  # (B, N), zero for padding
    features = throttle(prompt.visual, mask, gate, step.generator, step.auxiliary)
    # Features of their own for early layers would reveal what the noise hides.
    deepstack = tuple(throttle(layer, mask, gate, step.generator) for layer in prompt.deepstack)

    def forward(rows: Tensor | None, noisy: tuple[Tensor, ...]) -> Tensor:
        if rows is None:
            inputs = step.vlm.pruned(replace(prompt, deepstack=noisy[1:]), Action(mask, noisy[0]))
        else:
            layers = tuple(in_place(layer, rows, own) for layer, own in zip(prompt.deepstack, noisy[1:], strict=True))
            inputs = step.vlm.pruned(replace(prompt, deepstack=layers), Action(mask[rows], noisy[0]), rows)
        return answer_log_likelihood(step.vlm, step.batch, inputs, rows)

    return -with_gradient(step.batch.fit, (features, *deepstack), forward).mean()


def in_place(layer: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """(B, N, D) with rows (R,) replaced by `own` (R, N, D), with gradient in `own`."""
    return layer.index_put((rows,), own)


def throttle(
    features: Tensor, mask: Tensor, gate: Tensor, generator: torch.Generator, denoiser: nn.Module | None = None
) -> Tensor:
    """Features (B, N, D) mixed with as much noise as the gates (B, N) let in, then denoised if there is a denoiser.

    Padding of `mask` (B, N) becomes noise.
    """
    real = features[mask].float()  # (T, D)
    mean, spread = real.mean(0), real.std(0, correction=0).clamp(min=1e-6)
    noise = torch.randn(features.shape, generator=generator, device=features.device)
    z = (features.float() - mean) / spread
    z = root(gate)[..., None] * z + root(1 - gate)[..., None] * noise  # (B, N, D)
    if denoiser is not None:
        z = denoiser(z, gate)
    return (mean + spread * z).to(features.dtype)


def root(share: Tensor) -> Tensor:
    """sqrt with a finite gradient at zero."""
    return share.clamp(min=1e-12).sqrt()


def relaxation(vlm: FrozenVLM, seed: int) -> Relaxation:
    """The relaxation for `warmup(relax=...)`, with a new denoiser."""
    denoiser = seeded(seed, lambda: Denoiser(vlm.dim)).to(vlm.device)
    return Relaxation("noise_gate", noise_gate_loss, denoiser)


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: Config) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, which are saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="noise_gate", relax=relaxation(vlm, config.seed))
