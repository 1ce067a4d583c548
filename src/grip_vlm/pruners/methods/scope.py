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


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        return tower.action([cover(attention, cosines(x, x), keep) for attention, x, keep in tower.samples(k)], k)


def cover(attention: Tensor, similarity: Tensor, k: int) -> Tensor:
    """The greedy cover, (k,) indices in the order chosen, from attention (n,) and similarity (n, n)."""
    covered = torch.zeros_like(attention)
    kept = torch.zeros_like(attention, dtype=torch.bool)
    chosen = []
    for _ in range(k):
        gain = attention * (similarity - covered[:, None]).clamp(min=0).sum(0)  # (n,)
        best = gain.masked_fill(kept, -torch.inf).argmax()
        covered = torch.maximum(covered, similarity[:, best])
        kept[best] = True
        chosen.append(best)
    return torch.stack(chosen)
