"""SCOPE (NeurIPS 2025): greedy cover of all tokens by few, each gain weighted by the attention of CLS.

    S = cosines of the tower's features;  c_i = max over kept s of S_is, 0 at first
    k times: keep argmax_j a_j * sum_i max(0, S_ij - c_i)

Deviations: none in the choice (their exponent of a is 1). Original order and positions. Tiles share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower

BLOCK = 64  # gains computed at once
SMALL = 1e-30  # gains below may have underflowed


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        return tower.action([cover(attention, cosines(x, x), keep) for attention, x, keep in tower.samples(k)], k)


def cover(attention: Tensor, similarity: Tensor, k: int) -> Tensor:
    """The greedy cover, (k,) indices in the order chosen, from attention (n,), at least 0, and similarity (n, n).

    Gains only fall, so an old gain is an upper bound, and only tokens of high bounds are computed anew (Minoux 1978).
    Where the order of summation could decide between two of them, the gains of all tokens are computed, as by the
    formula. The choice is therefore that of the plain loop.
    """
    columns = similarity.mT.contiguous()  # (n, n) what token j would cover, in row j
    covered = torch.zeros_like(attention)
    bound = gain = gains(attention, similarity, covered)  # (n,)
    chosen = [gain.argmax()]
    for _ in range(k - 1):
        covered = torch.maximum(covered, columns[chosen[-1]])
        bound[chosen[-1]] = -torch.inf
        best = certain_best(bound, attention, columns, covered)
        if best is None:
            bound = gains(attention, similarity, covered).masked_fill(torch.isneginf(bound), -torch.inf)
            best = bound.argmax()
        chosen.append(best)
    return torch.stack(chosen)


def gains(attention: Tensor, similarity: Tensor, covered: Tensor) -> Tensor:
    """What each token would add to a cover (n,), weighted by attention: (n,)."""
    return attention * (similarity - covered[:, None]).clamp(min=0).sum(0)


def certain_best(bound: Tensor, attention: Tensor, columns: Tensor, covered: Tensor) -> Tensor | None:
    """The token that adds most in whatever order a sum is taken; None if that depends on the order.

    A sum of n terms that are at least 0 has a relative error below n eps / 2 in any order, as long as nothing
    underflows.

    Args:
        bound: (n,) about the gain of each token or more, -inf for those kept; lowered where gains are computed.
    """
    error = 4 * len(bound) * torch.finfo(bound.dtype).eps  # of two gains by both ways to add, and some more
    ranked, order = bound.sort(descending=True)
    best = 0.0
    for near, stale in zip(torch.split(order, BLOCK), ranked[::BLOCK].tolist(), strict=True):
        if stale < best * (1 - error):
            break
        gain = attention[near] * (columns[near] - covered).clamp_(min=0).sum(1)
        bound[near] = torch.minimum(bound[near], gain)
        best = max(best, float(bound[near].max()))
    rivals = (bound >= best * (1 - error)).nonzero()[:, 0]
    return rivals[0] if len(rivals) == 1 and best > SMALL else None
