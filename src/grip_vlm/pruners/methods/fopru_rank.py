"""FoPru's rank strategy (arXiv 2411.14164): keep the tokens that all patches of the tower attend to most.

    A = attention of patches to patches, mean of heads, without CLS
    u_j = mean_i A_ij (received),  w_i = mean_j A_ij (given)
    s = u if Var(u) > Var(w) else w, decided for every image;  keep the k largest s

Deviations: A is taken after the softmax (an open implementation takes the logits); with a softmax w hardly varies, so
s = u nearly always. Tiles count as images for the choice of s, and share one budget. Positions are kept (theirs are not
stated).
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
        tower = look(vlm, encoded, "fopru_rank")
        samples = zip(tower.split(significance(tower.maps())), tower.most(k), strict=True)
        return tower.action([top(scores, keep) for scores, keep in samples], k)


def significance(maps: Tensor) -> Tensor:
    """s of every patch, (T, n): attention received or given, whichever varies more in its run, from (T, n, n) maps."""
    received, given = maps.mean(1), maps.mean(2)  # (T, n)
    return torch.where(received.var(1, keepdim=True) > given.var(1, keepdim=True), received, given)
