"""FasterVLM (arXiv 2412.01818): keep the tokens to which the tower's CLS token attends most, whatever the question.

Deviations:

- Tokens keep their positions, as in all methods here. The paper closes the gaps (`positions="compact"`).
- The tiles of an image share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        samples = zip(tower.split(tower.cls_attention()), tower.patches_to_keep(k), strict=True)
        return tower.action([top(attention, keep) for attention, keep in samples], k)
