"""PTP, pyramid token pruning (arXiv 2509.15704): regions share the budget; in each, attention and question choose.

    region: n_k ~ mean of b over region k
    token: b_j = attention of CLS to patch j in the layer the projector reads
    instruction: c_j = max over question tokens of their attention to j in layer 2 of the language model, mean of heads
    f = (1 - alpha) b' + alpha c', both scaled to [0, 1] over the sample, alpha = 0.5;  top n_k by f in every region

The paper's region formula is not public. With an open port: the mean of b; regions are the image's tiles, the thumbnail
among them, so that an image of one tile (LLaVA-1.5) is one region.

Deviations: c' is scaled as b' is (in one version of the port raw, when alpha hardly matters), and reads the question
behind the images only; shares by largest remainder, never above a region's tokens, and 0 may be one; without CLS, b is
the attention of all patches on average, as in the port. Removal is before the language model, whose first two layers
therefore run twice: their cost is part of the method, and of its measured seconds.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import allot, top
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import asked
from grip_vlm.vlms.tower import look

ALPHA = 0.5


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, "ptp")
        told = asked(vlm, encoded, "ptp")
        chosen = []
        samples = zip(tower.split(tower.salience()), told, tower.tokens, tower.patches, tower.most(k), strict=True)
        for b, c, tokens, patches, keep in samples:
            chosen.append(pyramid(b, c[tokens], patches // tower.features.shape[1], keep))
        return tower.action(chosen, k)


def pyramid(b: Tensor, c: Tensor, region: Tensor, k: int) -> Tensor:
    """The best of every region, (k,) indices, from (n,) attention of the tower, (n,) of the question, (n,) regions."""
    region = torch.unique(region, return_inverse=True)[1]
    fused = (1 - ALPHA) * scaled(b) + ALPHA * scaled(c)
    places = [(region == i).nonzero()[:, 0] for i in range(int(region.max()) + 1)]
    shares = torch.stack([b[place].mean() for place in places])
    sizes = torch.tensor([len(place) for place in places], device=b.device)
    given = zip(places, allot(shares, sizes, k), strict=True)
    return torch.cat([place[top(fused[place], keep)] for place, keep in given])


def scaled(values: Tensor) -> Tensor:
    """(n,) values moved to [0, 1]; all equal, to 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-12)
