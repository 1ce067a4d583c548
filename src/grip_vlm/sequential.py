"""The policy of the decision process: one token after another, each by its importance less what it repeats.

    p(next = i | kept) ~ exp((importance_i - aversion_i * redundancy_i) / temperature)
    redundancy_i = the highest cosine of key i with the key of a kept token, at least 0

Ours; without aversion it is Plackett-Luce. The law of a draw is a product of softmaxes over the tokens left, so
its gradient is exact in everything the scorer says. At inference the best token is taken at every step, which is
maximal marginal relevance (Carbonell & Goldstein 1998) with all its terms learned.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from grip_vlm import policy
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, Scores

PAIRS = 2**28  # of tokens looked at together, 1 GiB; a batch with more is taken in parts
ROWS = 8  # samples whose steps are taken together in training
NEVER = -1e9  # a finite logit of probability 0: steps that do not count stay free of NaN


@torch.no_grad()
def choose(scorer: Scorer, state: State, k: Tensor) -> Tensor:
    """What a scorer keeps, (B, N) bool, of B samples and (B,) budgets."""
    return pick(scorer(state, k), k, scorer.config.one_pass)


def pick(scores: Scores, k: Tensor, one_pass: bool) -> Tensor:
    """What is kept of scores that are there already, as `choose`."""
    return policy.greedy(discounted(scores), k) if one_pass else greedy(scores, k)


@torch.no_grad()
def greedy(scores: Scores, k: Tensor) -> Tensor:
    """The best token at every step. (B,) k -> (B, N) bool; of equal tokens the first.

    Raises:
        ValueError: a score is NaN or infinite, or k is not in [1, tokens there are].
    """
    valid = _valid(scores, k)
    some = k < valid.sum(1)  # (B,) the others keep all they have
    steps, size = int((k * some).max()), max(1, PAIRS // valid.shape[1] ** 2)
    parts = zip(*(torch.split(part, size) for part in scores), strict=True)
    order = torch.cat([_draw(Scores(*part), steps, 1, 1.0, None) for part in parts])  # (B, 1, K)
    return torch.where(some[:, None], kept(order, k, valid.shape[1])[:, 0], valid)


@torch.no_grad()
def sample(scores: Scores, k: Tensor, group: int, temperature: float, generator: torch.Generator) -> Tensor:
    """Ordered draws without replacement, (B, G, max k) indices; those beyond a row's own k do not count.

    Raises:
        ValueError: a score is NaN or infinite, or k is not in [1, tokens there are].
    """
    _valid(scores, k)
    return _draw(scores, int(k.max()), group, temperature, generator)


def kept(order: Tensor, k: Tensor, n: int) -> Tensor:
    """The sets of ordered draws: (B, G, K) indices and (B,) k -> (B, G, N) bool."""
    counts = counting(order, k).float()
    return torch.zeros(*order.shape[:2], n, device=order.device).scatter_add(2, order, counts) > 0


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Standard Gumbel noise, float32: the highest of logits plus it is a draw from their softmax."""
    uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float32)
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))


def counting(order: Tensor, k: Tensor) -> Tensor:
    """Which steps of (B, G, K) draws are among their row's first k, same shape, bool."""
    return (torch.arange(order.shape[2], device=k.device) < k[:, None])[:, None].expand_as(order)


def step_laws(scores: Scores, order: Tensor, temperature: float) -> Tensor:
    """log p of every token at every step of the draws (B, G, K), given the picks before it: (B, G, K, N).

    Differentiable in all scores. Tokens already kept, and padding, have probability 0 (a log of about -1e9).
    """
    b, g, steps = order.shape
    rows = torch.arange(b, device=order.device)[:, None, None]
    cosine = torch.einsum("bgkd,bnd->bgkn", scores.keys[rows, order[..., :-1]], scores.keys)
    redundancy = F.pad(cosine.clamp(min=0).cummax(2).values, (0, 0, 1, 0))  # (B, G, K, N)
    step = torch.arange(steps, device=order.device)
    picked = torch.full((b, g, scores.importance.shape[1]), steps, device=order.device)  # (B, G, N) at which step
    # A row that has run out of tokens names some again; the first time is when they were picked.
    picked = picked.scatter_reduce(2, order, step.expand_as(order), "amin")
    barred = (picked[:, :, None] < step[:, None]) | torch.isneginf(scores.importance)[:, None, None]
    logits = scores.importance[:, None, None] - scores.aversion[:, None, None] * redundancy
    return (logits / temperature).masked_fill(barred, NEVER).log_softmax(-1)


def log_prob(scores: Scores, order: Tensor, k: Tensor, temperature: float) -> Tensor:
    """log p of each draw's first k picks, (B, G), of draws (B, G, K) and (B,) budgets; differentiable in all scores."""

    def picks(order: Tensor, scores: Scores) -> Tensor:
        return step_laws(scores, order, temperature).gather(3, order[..., None])[..., 0]

    return _along(picks, order, k, scores)


def divergence(scores: Scores, other: Scores, order: Tensor, k: Tensor) -> Tensor:
    """KL of two policies at temperature 1, (B, G): over all tokens, at each of the first k steps of the draws `order`.

    Its mean over draws from `scores` is the divergence of the two policies, each step of it exact.
    """

    def steps(order: Tensor, scores: Scores, other: Scores) -> Tensor:
        laws, others = step_laws(scores, order, 1.0), step_laws(other, order, 1.0)
        return (laws.exp() * (laws - others)).sum(3)

    return _along(steps, order, k, scores, other)


def disagreement(mask: Tensor, k: Tensor) -> Tensor:
    """How much a group explores: the share of its tokens that another subset of it lacks, (B,), of masks (B, G, N).

    Without bias from the group's size: 1 - (mean overlap of two different subsets) / k.
    """
    group = mask.shape[1]
    share = mask.float().mean(1)  # (B, N)
    overlap = (group * share.square().sum(1) - k) / (group - 1)
    return 1 - overlap / k


def discounted(scores: Scores) -> Tensor:
    """One score per token, (B, N), -inf for padding: importance less what it repeats of *any* token more important.

    One pass over pairs, as in the matrix form of non-maximum suppression (arXiv 2003.10152), for relaxations, which
    need scores that do not depend on what is kept. Gradient flows into importance alone: relaxations that learn
    aversion this way end worse (docs/log.md).
    """
    return scores.importance - scores.aversion.detach() * _redundancy(scores.keys, scores.importance)


def _valid(scores: Scores, k: Tensor) -> Tensor:
    """Which tokens are not padding, (B, N)."""
    if torch.isnan(scores.aversion).any() or torch.isnan(scores.keys).any():
        raise ValueError("aversion or keys contain NaN; the scorer has diverged or its input is not finite")
    return policy.tokens_there(scores.importance, k)


def _along(steps: Callable[..., Tensor], order: Tensor, k: Tensor, *scores: Scores) -> Tensor:
    """What `steps` says of every step, (B, G, K), summed over the first k of each draw, (B, G).

    Rows with similar budgets go together, so that few steps are taken that do not count.
    """
    parts, found = torch.split(k.argsort(), ROWS), []
    for rows in parts:
        paths = order[rows, :, : int(k[rows].max())]  # (ROWS, G, at most K)
        each = steps(paths, *(Scores(*(part[rows] for part in said)) for said in scores))
        found.append(each.masked_fill(~counting(paths, k[rows]), 0.0).sum(2))
    return torch.cat(found)[torch.cat(parts).argsort()]


def _draw(scores: Scores, steps: int, group: int, temperature: float, generator: torch.Generator | None) -> Tensor:
    """(B, G, steps) picks: the highest value at every step, with Gumbel noise if there is a generator."""
    b, n = scores.importance.shape
    beside = (scores.keys @ scores.keys.mT).clamp_(min=0).mul_(-scores.aversion[:, None])
    beside.add_(scores.importance[:, None])  # (B, N, N): row j is what tokens are worth at most beside j
    beside.diagonal(dim1=1, dim2=2).fill_(-torch.inf)  # and j itself nothing more
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
    """The highest cosine of (B, N, d) unit keys with one of higher (B, N) importance, at least 0, (B, N).

    Of equal importances the first is the higher.
    """
    order = importance.argsort(dim=1, descending=True, stable=True)  # (B, N), best first
    unit = keys.gather(1, order[..., None].expand_as(keys))
    highest = []
    # A token needs those before it alone: four parts save three eighths of the products, and memory.
    size = math.ceil(importance.shape[1] / 4)
    for start in range(0, importance.shape[1], size):
        cosine = unit[:, start : start + size] @ unit[:, : start + size].mT  # (B, part, end)
        before = torch.ones(cosine.shape[1:], dtype=torch.bool, device=cosine.device).tril(start - 1)
        highest.append(cosine.masked_fill(~before, 0.0).amax(2).clamp(min=0))
    return torch.zeros_like(importance).scatter(1, order, torch.cat(highest, dim=1))
