"""LLaVA-PruMerge (ICCV 2025): tokens that CLS attends to most, each with its neighbours added; one token for the rest.

    a = softmax(q_cls K / sqrt(C)), all heads as one;  keep the largest a
    x_i + sum of a_j x_j over the 32 tokens whose keys have the largest cosine with key i, for every kept i
    one token more: sum of a_j x_j over all that are not kept

k = kept + 1. The token for the rest stands where the most attended of the rest stood; for k = 1 or k = n there is none.

Deviations: k is given (theirs is the number of outliers of a, different for every image, which is not comparable at
fixed budgets); a and keys are of the layer the projector reads (their code: of one behind it); no fine-tuning; original
order and positions. Tiles share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look

NEIGHBOURS = 32


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, type(self).__module__.rpartition(".")[2], needs_cls=True)
        parts = tower.cls_attention(heads=1), tower.keys().flatten(2), tower.features
        samples = zip(*(tower.split(part) for part in parts), tower.most(k), strict=True)
        chosen, merged = zip(*(self.merge(a, keys, x, keep) for a, keys, x, keep in samples), strict=True)
        return tower.action(list(chosen), k, list(merged))

    def merge(self, attention: Tensor, keys: Tensor, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(k,) indices and (k, C) features, from (n,), (n, C) and (n, C)."""
        rest = 1 < k < len(attention)
        return absorb(attention, keys, features, self.keep(attention, k - rest), rest)

    def keep(self, attention: Tensor, k: int) -> Tensor:
        """Which tokens stay themselves, (k,) indices from (n,)."""
        return top(attention, k)


def absorb(attention: Tensor, keys: Tensor, features: Tensor, kept: Tensor, rest: bool) -> tuple[Tensor, Tensor]:
    """The kept tokens with their neighbours added and, with `rest`, one token more for those that are not kept.

    Args:
        attention: (n,); keys: (n, C); features: (n, C); kept: (m,) indices.

    Returns:
        (m + rest,) indices and their features (m + rest, C).
    """
    near = cosines(keys[kept], keys).scatter(1, kept[:, None], -torch.inf)  # (m, n)
    neighbours = near.argsort(dim=1, descending=True, stable=True)[:, : min(NEIGHBOURS, len(attention) - 1)]
    weights = torch.zeros_like(near).scatter(1, neighbours, attention[neighbours]).scatter(1, kept[:, None], 1)
    if rest:
        left = attention.clone()
        left[kept] = 0
        kept = torch.cat([kept, attention.index_fill(0, kept, -torch.inf).argmax()[None]])
        weights = torch.cat([weights, left[None]])
    return kept, weights @ features.float()
