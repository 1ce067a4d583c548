"""FasterVLM (arXiv 2412.01818): keep the tokens that the tower's CLS token attends to most, whatever the question.

Deviations: tokens keep their positions, as everywhere here (the paper closes the gaps: `positions="compact"`); the
tiles of an image share one budget.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, "cls_attention", needs_cls=True)
        samples = zip(tower.split(tower.cls_attention()), tower.most(k), strict=True)
        return tower.action([top(attention, keep) for attention, keep in samples], k)
