"""Importance as a gate on noise (AutoSelect, arXiv 2603.07135; DiffPrune, arXiv 2605.28051): shut tokens are noise.

    z~_i = sqrt(g_i) z_i + sqrt(1 - g_i) e_i,  e ~ N(0, 1),  g = sigmoid(theta + lambda) with sum k
    z^_i = z~_i + (1 - g_i) f(z~_i, g_i),      loss = -log p(answer | z^)

z is the token in units of the batch's mean and deviation per channel, so that noise looks like a token in size. The
frozen VLM reads all N tokens; what a token may tell is what its gate lets through. At test time k
tokens are kept as they are (`sequential.choose`). The only loss is the answer's, as in both papers.

Known of the papers are their abstracts: a variance-preserving gate driven by importance, a soft top-k for the budget, a
denoiser with diagonal attention that only training has. Ours where they are silent: mean and deviation over the batch
(an image's own would tell about it), the soft top-k of VisionSelector, and the denoiser: attention of each token to
itself alone is a map of single tokens, here f, two layers that know the gate, silent at first and for open gates,
since kept tokens get no denoiser. Our scorer and its budget are the input, where theirs has one ratio per training.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from grip_vlm import policy, relaxation
from grip_vlm.bank import Batch
from grip_vlm.mdp import Action
from grip_vlm.vlms import FrozenVLM


class Denoiser(nn.Module):
    """z~ + (1 - g) f(z~, g), for single tokens; only training has it."""

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(dim + 1, width), nn.Linear(width, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, noisy: Tensor, gate: Tensor) -> Tensor:
        """noisy (B, N, D), gate (B, N) -> (B, N, D)."""
        told = torch.cat([noisy, gate[..., None]], dim=-1)  # (B, N, D + 1)
        guess: Tensor = self.outer(nn.functional.gelu(self.inner(told)))
        return noisy + (1 - gate)[..., None] * guess


def noise_gate_loss(
    vlm: FrozenVLM, batch: Batch, scores: Tensor, k: Tensor, denoiser: nn.Module, generator: torch.Generator
) -> Tensor:
    """The answer's negative log-likelihood from noisy tokens, mean over the batch, of scores (B, N), budgets k (B,)."""
    prompt, mask = batch.encoded.prompt, batch.encoded.state.visual_mask
    gate = policy.soft_top_k(scores, k).exp()  # (B, N), zero for padding
    features = throttle(prompt.visual, mask, gate, generator, denoiser)
    # Early layers that get features of their own would tell what the noise hides.
    deepstack = tuple(throttle(layer, mask, gate, generator) for layer in prompt.deepstack)
    inputs = vlm.pruned(replace(prompt, deepstack=deepstack), Action(mask, features))
    return -relaxation.answer_log_likelihood(vlm, batch, inputs).mean()


def throttle(
    features: Tensor, mask: Tensor, gate: Tensor, generator: torch.Generator, denoiser: nn.Module | None = None
) -> Tensor:
    """Features (B, N, D) with the noise that gates (B, N) let in, denoised where a denoiser is given; padding of
    `mask` (B, N) comes out as noise."""
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
