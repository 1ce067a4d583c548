"""VisPruner (ICCV 2025): half of the tokens by attention of CLS, half by leaving out near-duplicates of the others.

    important: the int(k / 2) largest attentions of CLS
    diverse: the others in descending attention; while they are too many, their even places are compared with the odd
        ones, and of the even ones up to 8 with the largest best cosine are dropped; then kept even ones, then odd ones

Deviations: the cosines are those of the tower's features (the layer before the projector); even ones that are kept stay
in their order (in the authors' code the least similar come first); positions are kept (theirs are compact). Tiles share
one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look

STEP = 8  # tokens dropped at a time


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, "vispruner", needs_cls=True)
        return tower.action([halves(attention, x, keep) for attention, x, keep in tower.samples(k)], k)


def halves(attention: Tensor, features: Tensor, k: int) -> Tensor:
    """int(k / 2) important tokens and as many diverse ones as are missing, (k,) indices, from (n,) and (n, C)."""
    order = top(attention, len(attention))
    important, rest = order[: k // 2], order[k // 2 :]
    similar = cosines(features, features)
    while (surplus := len(rest) - (k - k // 2)) > 0:
        even, odd = rest[::2], rest[1::2]
        drop = top(similar[even][:, odd].amax(1), min(STEP, surplus))
        stays = torch.ones_like(even, dtype=torch.bool)
        stays[drop] = False
        rest = torch.cat([even[stays], odd])
    return torch.cat([important, rest])
