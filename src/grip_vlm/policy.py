"""The policy of the decision process: tokens are picked one after another, by importance minus redundancy.

    p(next = i | kept) ~ exp((importance_i - aversion_i * redundancy_i) / temperature)
    redundancy_i = the highest cosine of key i with the key of a kept token, at least 0

Ours. Without aversion it is Plackett-Luce. The probability of a selection is a product of softmaxes over the remaining
tokens, so its log-probability is differentiable in importance, aversion and keys. Inference takes the most likely token
at each step: maximal marginal relevance (Carbonell & Goldstein 1998) with all its terms learned.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from grip_vlm import lazy, subsets
from grip_vlm.mdp import State
from grip_vlm.scorer import Reading, Scorer, Scores

PAIRS = 2**28  # of tokens held in memory at once, 1 GiB; larger batches are split
ROWS = 8  # samples whose steps are computed together in training
IMPOSSIBLE = -1e9  # a finite logit of probability 0, so that steps beyond a row's budget stay free of NaN


@torch.no_grad()
def choose(scorer: Scorer, state: State, k: Tensor, reading: Reading | None = None) -> Tensor:
    """The tokens that a scorer keeps: B samples and budgets k (B,) -> (B, N) bool.

    Args:
        reading: what `scorer.read` gave for this state, if it is known already.
    """
    return pick(scorer(state, k, reading), k, scorer.config.one_pass)


def pick(scores: Scores, k: Tensor, one_pass: bool) -> Tensor:
    """As `choose`, from scores that are computed already."""
    return subsets.top_k(discounted(scores), k) if one_pass else greedy(scores, k)


@torch.no_grad()
def greedy(scores: Scores, k: Tensor, pairs: int = PAIRS) -> Tensor:
    """The most likely token at every step, ties to the lower index: budgets k (B,) -> (B, N) bool.

    On CPUs most pairs of tokens are never compared (`lazy.py`); the choice is the same.

    Args:
        pairs: of tokens held in memory at once, at most, unless one sample has more.

    Raises:
        ValueError: a score is NaN or infinite, or k is not in [1, number of tokens].
    """
    valid = _valid_tokens(scores, k)
    partial = k < valid.sum(1)  # (B,) the other rows keep every token
    if not lazy.fits(scores):
        return greedy_by_all_pairs(scores, k, pairs)
    mask = valid.clone()
    for row in partial.nonzero()[:, 0].tolist():
        mask[row] = False
        mask[row, lazy.pick(Scores(*(part[row] for part in scores)), int(k[row]))] = True
    return mask


@torch.no_grad()
def greedy_by_all_pairs(scores: Scores, k: Tensor, pairs: int = PAIRS) -> Tensor:
    """As `greedy`, on every device, by the cosines of all pairs and a step per token."""
    valid = _valid_tokens(scores, k)
    partial = k < valid.sum(1)  # (B,)
    steps, size = int((k * partial).max()), max(1, pairs // valid.shape[1] ** 2)
    parts = zip(*(torch.split(part, size) for part in scores), strict=True)
    order = torch.cat([_pick(Scores(*part), steps, 1, 1.0, None) for part in parts])  # (B, 1, K)
    return torch.where(partial[:, None], as_mask(order, k, valid.shape[1])[:, 0], valid)


@torch.no_grad()
def sample(scores: Scores, k: Tensor, group: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Ordered samples without replacement, (B, G, max k) indices; picks beyond a row's own k do not count.

    Raises:
        ValueError: a score is NaN or infinite, or k is not in [1, number of tokens].
    """
    _valid_tokens(scores, k)
    return _pick(scores, int(k.max()), group, temperature, generator)


def as_mask(order: Tensor, k: Tensor, n: int) -> Tensor:
    """The subsets that ordered samples select: (B, G, K) indices and (B,) k -> (B, G, N) bool."""
    counts = within_budget(order, k).float()
    return torch.zeros(*order.shape[:2], n, device=order.device).scatter_add(2, order, counts) > 0


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Standard Gumbel noise, float32. The argmax of logits plus this noise is a sample from their softmax."""
    uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float32)
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))


def within_budget(order: Tensor, k: Tensor) -> Tensor:
    """Which steps of (B, G, K) samples are among their row's first k, (B, G, K) bool."""
    return (torch.arange(order.shape[2], device=k.device) < k[:, None])[:, None].expand_as(order)


def step_log_probs(scores: Scores, order: Tensor, temperature: float) -> Tensor:
    """log p of every token at every step of the samples (B, G, K), given the earlier picks: (B, G, K, N).

    Differentiable in all scores. Tokens already kept and padding have probability 0 (a logarithm of about -1e9).
    """
    b, g, steps = order.shape
    rows = torch.arange(b, device=order.device)[:, None, None]
    cosine = torch.einsum("bgkd,bnd->bgkn", scores.keys[rows, order[..., :-1]], scores.keys)
    redundancy = F.pad(cosine.clamp(min=0).cummax(2).values, (0, 0, 1, 0))  # (B, G, K, N)
    step = torch.arange(steps, device=order.device)
    picked = torch.full((b, g, scores.importance.shape[1]), steps, device=order.device)  # (B, G, N) step of the pick
    # A row that has run out of tokens repeats some; the first occurrence is the pick.
    picked = picked.scatter_reduce(2, order, step.expand_as(order), "amin")
    barred = (picked[:, :, None] < step[:, None]) | torch.isneginf(scores.importance)[:, None, None]
    logits = scores.importance[:, None, None] - scores.aversion[:, None, None] * redundancy
    return (logits / temperature).masked_fill(barred, IMPOSSIBLE).log_softmax(-1)


def log_prob(scores: Scores, order: Tensor, k: Tensor, temperature: float) -> Tensor:
    """log p of the first k picks of samples (B, G, K), k (B,): (B, G), differentiable in all scores."""

    def picks(order: Tensor, scores: Scores) -> Tensor:
        return step_log_probs(scores, order, temperature).gather(3, order[..., None])[..., 0]

    return _sum_over_steps(picks, order, k, scores)


def kl(scores: Scores, other: Scores, order: Tensor, k: Tensor) -> Tensor:
    """KL(scores || other) at temperature 1, (B, G): summed over the first k steps of the samples `order` (B, G, K).

    Each step sums over all tokens, so it is exact. The mean over samples from `scores` is the KL of the two policies.
    """

    def steps(order: Tensor, scores: Scores, other: Scores) -> Tensor:
        log_p, log_q = step_log_probs(scores, order, 1.0), step_log_probs(other, order, 1.0)
        return (log_p.exp() * (log_p - log_q)).sum(3)

    return _sum_over_steps(steps, order, k, scores, other)


def disagreement(mask: Tensor, k: Tensor) -> Tensor:
    """How much a group (B, G, N) explores: 1 - (mean overlap of two different subsets) / k, (B,).

    The estimate has no bias from the size of the group.
    """
    group = mask.shape[1]
    share = mask.float().mean(1)  # (B, N)
    overlap = (group * share.square().sum(1) - k) / (group - 1)
    return 1 - overlap / k


def discounted(scores: Scores) -> Tensor:
    """Importance minus redundancy with *any* more important token: one score per token, (B, N), -inf for padding.

    Relaxations need scores that do not depend on what is kept. This is one pass over all pairs, as in the matrix form
    of non-maximum suppression (arXiv 2003.10152). Only importance gets a gradient: relaxations that learn aversion
    this way end worse (docs/log.md).
    """
    return scores.importance - scores.aversion.detach() * _redundancy(scores.keys, scores.importance)


def _valid_tokens(scores: Scores, k: Tensor) -> Tensor:
    """Which tokens are not padding, (B, N)."""
    if torch.isnan(scores.aversion).any() or torch.isnan(scores.keys).any():
        raise ValueError("aversion or keys contain NaN; the scorer has diverged or its input is not finite")
    return subsets.valid_tokens(scores.importance, k)


def _sum_over_steps(steps: Callable[..., Tensor], order: Tensor, k: Tensor, *scores: Scores) -> Tensor:
    """The sum of `steps` (B, G, K) over the first k steps of each sample, (B, G).

    Rows with similar budgets are computed together, which wastes few steps.
    """
    parts, sums = torch.split(k.argsort(), ROWS), []
    for rows in parts:
        paths = order[rows, :, : int(k[rows].max())]  # (ROWS, G, at most K)
        values = steps(paths, *(Scores(*(part[rows] for part in one)) for one in scores))
        sums.append(values.masked_fill(~within_budget(paths, k[rows]), 0.0).sum(2))
    return torch.cat(sums)[torch.cat(parts).argsort()]


def _pick(scores: Scores, steps: int, group: int, temperature: float, generator: torch.Generator | None) -> Tensor:
    """(B, G, steps) picks: the highest value at every step, plus Gumbel noise if there is a generator."""
    b, n = scores.importance.shape
    beside = (scores.keys @ scores.keys.mT).clamp_(min=0).mul_(-scores.aversion[:, None])
    beside.add_(scores.importance[:, None])  # (B, N, N): row j bounds the values of tokens once j is kept
    beside.diagonal(dim1=1, dim2=2).fill_(-torch.inf)  # j itself cannot be picked again
    value = scores.importance[:, None].expand(b, group, n)
    rows = torch.arange(b, device=value.device)[:, None]
    order = []
    for _ in range(steps):
        noisy = value
        if generator is not None:
            noisy = value / temperature + gumbel((b, group, n), generator, value.device)
        pick = noisy.argmax(2)  # (B, G)
        order.append(pick)
        value = torch.minimum(value, beside[rows, pick])
    return torch.stack(order, 2) if order else torch.zeros(b, group, 0, dtype=torch.long, device=value.device)


@torch.no_grad()
def _redundancy(keys: Tensor, importance: Tensor) -> Tensor:
    """The highest cosine of unit keys (B, N, d) with a key of higher importance (B, N), at least 0: (B, N).

    Of equal importances the lower index counts as higher.
    """
    order = importance.argsort(dim=1, descending=True, stable=True)  # (B, N), best first
    unit = keys.gather(1, order[..., None].expand_as(keys))
    highest = []
    # A token is compared with the tokens before it only: four parts save three eighths of the products, and memory.
    size = math.ceil(importance.shape[1] / 4)
    for start in range(0, importance.shape[1], size):
        cosine = unit[:, start : start + size] @ unit[:, : start + size].mT  # (B, part, end)
        before = torch.ones(cosine.shape[1:], dtype=torch.bool, device=cosine.device).tril(start - 1)
        highest.append(cosine.masked_fill(~before, 0.0).amax(2).clamp(min=0))
    return torch.zeros_like(importance).scatter(1, order, torch.cat(highest, dim=1))
