"""FoPru's rank strategy (arXiv 2411.14164): keep the tokens to which all patches of the tower attend most.

    A = attention of patches to patches, mean over heads, without CLS
    u_j = mean_i A_ij (received),  w_i = mean_j A_ij (given)
    s = u if Var(u) > Var(w) else w, decided for each image;  keep the k largest s

Deviations:

- A is taken after the softmax. An open implementation takes the logits. After a softmax, w hardly varies, so s is
  nearly always u.
- Tiles count as images in the choice of s, but they share one budget.
- Positions are kept. The paper does not say what it does.
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
        tower = read_tower(vlm, encoded, self.name)
        samples = zip(tower.split(significance(tower.maps())), tower.patches_to_keep(k), strict=True)
        return tower.action([top(scores, keep) for scores, keep in samples], k)


def significance(maps: Tensor) -> Tensor:
    """s of each patch, (T, n), from maps (T, n, n): attention received or given, whichever varies more in its run."""
    received, given = maps.mean(1), maps.mean(2)  # (T, n)
    return torch.where(received.var(1, keepdim=True) > given.var(1, keepdim=True), received, given)
