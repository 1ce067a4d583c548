"""The k-subset Gibbs distribution (conditional Poisson sampling) over subsets of exactly k tokens.

    pi(z) = exp(theta . z) / Z_k,  |z| = k

Log-probability and inclusion probabilities are exact, and the mode is the top k of the scores (Chen, Dempster & Liu
1994). Imitation and the soft top-k use it, and GRPO can (grpo_sets.py). It has one score per token, so it cannot
express that two tokens are redundant; the sequential policy can (policy.py).

Everything is batched torch on any device, in float64 inside: scores (B, N), k (B,), masks (B, G, N). Padding has
score -inf and is never sampled.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from grip_vlm.subsets import valid_tokens

SADDLE_FROM = 8.0  # variance d of |z| above which the saddlepoint's error is below 5e-5 nats; below it the DFT runs


@dataclass(frozen=True)
class Gibbs:
    """The distribution at given scores; all fields detached."""

    scores: Tensor  # (B, N) float64, centred; padding is -inf
    k: Tensor  # (B,)
    tilted: Tensor  # (B, N) p = sigmoid(theta + lambda), sums to k: independent samples, accepted when |z| = k
    log_z: Tensor  # (B,) log normaliser of the centred scores
    inclusion: Tensor  # (B, N) E[z]

    @property
    def spread(self) -> Tensor:
        """d = sum of pi (1 - pi), (B,): how much the policy explores, and the variance scale of log-ratios."""
        return (self.inclusion * (1 - self.inclusion)).sum(1)


def gibbs(scores: Tensor, k: Tensor) -> Gibbs:
    """The k-subset Gibbs distribution of (B, N) scores and (B,) budgets.

    Raises:
        ValueError: a score is NaN, or k is not in [1, number of tokens].
    """
    valid = valid_tokens(scores, k)
    theta = scores.detach().double()
    centre = torch.where(valid, theta, 0).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    theta = torch.where(valid, theta - centre, -torch.inf)
    shift = _tilt(theta, k)[:, None]
    # Keeping all tokens leaves one subset, which no finite tilt reaches.
    full = (k >= valid.sum(1))[:, None]
    p = torch.where(full, valid.double(), torch.sigmoid(theta + shift))  # (B, N)
    v = p * (1 - p)
    d = v.sum(1)
    log_pmf, inclusion = saddlepoint(p, d)
    narrow = (d < SADDLE_FROM) & ~full[:, 0]
    if narrow.any():
        exact_pmf, exact_inclusion = fourier(p[narrow], k[narrow])
        log_pmf = log_pmf.index_put((narrow,), exact_pmf)
        inclusion = inclusion.index_put((narrow,), exact_inclusion)
    tilted_z = F.softplus(theta + shift).sum(1) - shift[:, 0] * k + log_pmf
    log_z = torch.where(full[:, 0], torch.where(valid, theta, 0).sum(1), tilted_z)
    inclusion = torch.where(full, valid.double(), inclusion)
    return Gibbs(theta, k, p, log_z, inclusion)


def _tilt(theta: Tensor, k: Tensor, steps: int = 60) -> Tensor:
    """lambda (B,) with sum sigmoid(theta + lambda) = k, by bisection."""
    valid = torch.isfinite(theta)
    low = -theta.amax(1) - 40.0
    high = -torch.where(valid, theta, torch.inf).amin(1) + 40.0
    for _ in range(steps):
        middle = (low + high) / 2
        short = torch.sigmoid(theta + middle[:, None]).sum(1) < k
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2


def saddlepoint(p: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """log P(K = k) (B,) and inclusion (B, N) in O(N), to second order in 1/d."""
    v = p * (1 - p)
    skew = (v * (1 - 2 * p)).sum(1)
    peak = (v * (1 - 6 * v)).sum(1)
    safe = d.clamp(min=1e-12)
    series = (peak / (8 * safe**2) - 5 * skew**2 / (24 * safe**3)).clamp(min=-0.5)
    log_pmf = -0.5 * torch.log(2 * math.pi * safe) + torch.log1p(series)
    inclusion = p - v * ((1 - 2 * p) - (skew / safe)[:, None]) / (2 * safe)[:, None]
    return log_pmf, inclusion.clamp(0, 1)


def fourier(p: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """log P(K = k) (B,) and inclusion (B, N), exact: the characteristic function of K at enough frequencies."""
    d = float((p * (1 - p)).sum(1).max())
    frequencies = 2 ** math.ceil(math.log2(14 * math.sqrt(d) + 16))
    omega = 2 * math.pi * torch.arange(frequencies, device=p.device, dtype=p.dtype) / frequencies
    turn = torch.exp(1j * omega)
    factor = 1 + p[:, :, None] * (turn - 1)  # (B, N, L)
    factor = torch.where(factor.abs() < 1e-14, factor + 1e-14, factor)
    logs = torch.log(factor)
    total = logs.sum(1)  # (B, L)
    count = k[:, None].to(p.dtype)
    pmf = torch.exp(total - 1j * omega * count).mean(1).real
    without = torch.exp((total - 1j * omega * (count - 1))[:, None, :] - logs).mean(2).real
    inclusion = (p * without / pmf[:, None]).clamp(0, 1)
    return torch.log(pmf.clamp(min=1e-300)), inclusion


def sample(distribution: Gibbs, group: int, generator: torch.Generator | None = None) -> Tensor:
    """`group` exact samples per row, (B, G, N) bool: independent tilted samples, accepted when they have k members."""
    b, n = distribution.scores.shape
    done = torch.zeros(b, dtype=torch.long, device=distribution.scores.device)
    drawn = torch.zeros(b, group, n, dtype=torch.bool, device=distribution.scores.device)
    tries = max(
        32,
        int(
            4
            * group
            * math.sqrt(2 * math.pi * float((distribution.tilted * (1 - distribution.tilted)).sum(1).max()) + 1)
        ),
    )
    # The acceptance rate is P(K = k), about 1 / sqrt(2 pi d) and never tiny since k is the mean of K.
    while (done < group).any():
        uniform = torch.rand(b, tries, n, generator=generator, device=distribution.scores.device, dtype=torch.float32)
        draws = uniform < distribution.tilted[:, None, :]
        fits = draws.sum(-1) == distribution.k[:, None]  # (B, tries)
        slot = done[:, None] + fits.cumsum(1) - 1
        take = fits & (slot < group)
        row, attempt = take.nonzero(as_tuple=True)
        drawn[row, slot[row, attempt]] = draws[row, attempt]
        done = (done + fits.sum(1)).clamp(max=group)
    return drawn


def log_prob(distribution: Gibbs, mask: Tensor) -> Tensor:
    """log pi(z) of masks (B, G, N) with k members each, (B, G)."""
    theta = torch.where(torch.isfinite(distribution.scores), distribution.scores, 0)
    return (mask * theta[:, None]).sum(-1) - distribution.log_z[:, None]


def covariance_times(distribution: Gibbs, x: Tensor) -> Tensor:
    """Cov(z) x for x (B, N), by Hajek's rank-one approximation of the covariance."""
    v = distribution.inclusion * (1 - distribution.inclusion)
    mean = (v * x).sum(1, keepdim=True) / v.sum(1, keepdim=True).clamp(min=1e-12)
    return v * (x - mean)


def soft_top_k(scores: Tensor, k: Tensor) -> Tensor:
    """log of sigmoid(theta + lambda) with sum k, (B, N), differentiable through lambda: the relaxation's gate.

    Padding gets -inf. Source: VisionSelector (arXiv 2510.16598), with the implicit gradient of lambda.
    """
    valid = valid_tokens(scores, k)
    full = (k >= valid.sum(1))[:, None]
    shift = _tilt(scores.detach().double(), k)[:, None].to(scores.dtype)
    finite = torch.where(valid, scores, 0)
    p = torch.sigmoid(finite + shift).detach() * valid
    v = p * (1 - p)
    weight = v / v.sum(1, keepdim=True).clamp(min=1e-12)
    shift = shift - (weight * (finite - finite.detach())).sum(1, keepdim=True)
    gate = torch.where(full, torch.zeros_like(finite), F.logsigmoid(finite + shift))
    return torch.where(valid, gate, -torch.inf)
