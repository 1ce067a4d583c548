"""LLaVA-PruMerge (ICCV 2025): tokens to which CLS attends most, each with its neighbours added; one token for the rest.

    a = softmax(q_cls K / sqrt(C)), all heads as one;  keep the largest a
    x_i + sum of a_j x_j over the 32 tokens whose keys have the largest cosine with key i, for every kept i
    one token more: sum of a_j x_j over all that are not kept

k counts the kept tokens and the token for the rest. The latter takes the place of the token with the most attention
among the rest. There is none for k = 1 and k = n.

Deviations:

- k is given. Theirs is the number of outliers of a, which differs between images and cannot be compared at fixed
  budgets.
- a and the keys are of the layer that the projector reads. Their code reads them one layer after it.
- No fine-tuning.
- Original order and positions. Tiles share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower

NEIGHBOURS = 32


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        parts = tower.cls_attention(heads=1), tower.keys().flatten(2), tower.features
        samples = zip(*(tower.split(part) for part in parts), tower.patches_to_keep(k), strict=True)
        chosen, merged = zip(*(self.merge(a, keys, x, keep) for a, keys, x, keep in samples), strict=True)
        return tower.action(list(chosen), k, list(merged))

    def merge(self, attention: Tensor, keys: Tensor, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(k,) indices and (k, C) features, from attention (n,), keys (n, C) and features (n, C)."""
        rest = 1 < k < len(attention)
        return absorb(attention, keys, features, self.keep(attention, k - rest), rest)

    def keep(self, attention: Tensor, k: int) -> Tensor:
        """The tokens that stay and get neighbours, (k,) indices, from attention (n,)."""
        return top(attention, k)


def absorb(attention: Tensor, keys: Tensor, features: Tensor, kept: Tensor, rest: bool) -> tuple[Tensor, Tensor]:
    """The kept tokens with their neighbours added.

    Args:
        attention: (n,).
        keys, features: (n, C).
        kept: (m,) indices.
        rest: whether to add one token for all that are not kept.

    Returns:
        (m + rest,) indices and their features (m + rest, C).
    """
    similarity = cosines(keys[kept], keys).scatter(1, kept[:, None], -torch.inf)  # (m, n)
    neighbours = similarity.argsort(dim=1, descending=True, stable=True)[:, : min(NEIGHBOURS, len(attention) - 1)]
    weights = torch.zeros_like(similarity).scatter(1, neighbours, attention[neighbours]).scatter(1, kept[:, None], 1)
    if rest:
        left = attention.clone()
        left[kept] = 0
        kept = torch.cat([kept, attention.index_fill(0, kept, -torch.inf).argmax()[None]])
        weights = torch.cat([weights, left[None]])
    return kept, weights @ features.float()
