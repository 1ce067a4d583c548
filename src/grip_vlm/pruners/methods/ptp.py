"""PTP, pyramid token pruning (arXiv 2509.15704): regions share the budget; in each, attention and question choose.

    region: n_k ~ mean of b over region k
    token: b_j = attention of CLS to patch j in the layer the projector reads
    instruction: c_j = max over question tokens of their attention to j in layer 2 of the language model, mean of heads
    f = (1 - alpha) b' + alpha c', both scaled to [0, 1] over the sample, alpha = 0.5;  top n_k by f in every region

The paper's region formula is not public. As in an open port, it is the mean of b here, and regions are the image's
tiles including the thumbnail. An image of one tile (LLaVA-1.5) is one region.

b depends on the CLS token, which is untrained in tiny-llava.

Deviations:

- c' is scaled as b' is. In one version of the port c is raw, and alpha then hardly matters.
- c reads only the tokens after the last image. Where the question stands before it, these are the template's last
  words, which attend to the question.
- Shares are rounded by largest remainder and never exceed a region's tokens. A share may be 0.
- Without CLS, b is the mean attention of all patches, as in the port.
- Tokens are removed before the language model, whose first two layers therefore run twice. That cost is part of the
  method and of its measured seconds.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import allot, rescaled, top
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import question_attention
from grip_vlm.vlms.tower import read_tower

ALPHA = 0.5


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name)
        instruction = question_attention(vlm, encoded, self.name)  # (B, N)
        chosen = []
        parts = tower.split(tower.salience()), instruction, tower.tokens, tower.patches, tower.patches_to_keep(k)
        for b, c, tokens, patches, keep in zip(*parts, strict=True):
            chosen.append(top_per_region(b, c[tokens], patches // tower.features.shape[1], keep))
        return tower.action(chosen, k)


def top_per_region(b: Tensor, c: Tensor, region: Tensor, k: int) -> Tensor:
    """The best tokens of each region, (k,) indices.

    Args:
        b: (n,) attention of the tower.
        c: (n,) attention of the question.
        region: (n,) the region of each token; regions may have any numbers.
    """
    region = torch.unique(region, return_inverse=True)[1]
    fused = (1 - ALPHA) * rescaled(b) + ALPHA * rescaled(c)
    members = [(region == i).nonzero()[:, 0] for i in range(int(region.max()) + 1)]
    shares = torch.stack([b[tokens].mean() for tokens in members])
    sizes = torch.tensor([len(tokens) for tokens in members], device=b.device)
    budgets = zip(members, allot(shares, sizes, k), strict=True)
    return torch.cat([tokens[top(fused[tokens], keep)] for tokens, keep in budgets])
