"""VisPruner (ICCV 2025): half of the tokens by attention of CLS, half by leaving out near-duplicates of the others.

    important: the int(k / 2) largest attentions of CLS
    diverse: the others in descending attention. While there are too many, each token at an even place is compared with
        all tokens at odd places. The (up to) 8 even ones with the largest best cosine are dropped. The even ones that
        stay, the most similar first, are then followed by the odd ones

Deviations:

- The cosines are of the tower's features (the layer before the projector).
- Their code fails where few or an odd number of tokens remain. Ours works for every k.
- Positions are kept. Theirs are compact.
- Tiles share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower

STEP = 8  # tokens dropped at a time


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        return tower.action([important_and_diverse(*sample) for sample in tower.samples(k)], k)


def important_and_diverse(attention: Tensor, features: Tensor, k: int) -> Tensor:
    """int(k / 2) important tokens, then diverse ones up to k, (k,) indices; attention (n,), features (n, C)."""
    order = top(attention, len(attention))
    important, rest = order[: k // 2], order[k // 2 :]
    similarity = cosines(features, features)
    while (surplus := len(rest) - (k - k // 2)) > 0:
        even, odd = rest[::2], rest[1::2]
        order = top(similarity[even][:, odd].amax(1), len(even))
        rest = torch.cat([even[order[min(STEP, surplus) :]], odd])
    return torch.cat([important, rest])
