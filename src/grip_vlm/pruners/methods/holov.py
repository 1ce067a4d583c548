"""HoloV (NeurIPS 2025): each segment of the image gets a share of the budget by its attention and its variety.

    16 segments of neighbouring tokens; in each, S = cosines of features with a zero diagonal
    v_i = variance of row i of S, over the image scaled so that mean |v| = mean |1000 a|, a the attention of CLS
    share of a segment ~ mean of 1000 a_i + 0.09 v_i;  in a segment, the largest a are kept

Deviations:

- v is scaled over the image. The authors' code scales it in each segment, where it drops out of the shares and of all
  that they decide.
- Shares are rounded by largest remainder, and what exceeds a segment goes to the others. Theirs gives the leftover to
  the largest share and fills lists up with zeros.
- Segments have unequal lengths where 16 does not divide the tokens. There are fewer segments where each would hold less
  than two tokens.
- Features are the tower's. Theirs are the projected ones.
- Original order and positions.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import allot, top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower

SEGMENTS = 16  # the authors' number for LLaVA


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name, needs_cls=True)
        return tower.action([top_per_segment(attention, x, keep) for attention, x, keep in tower.samples(k)], k)


def top_per_segment(attention: Tensor, features: Tensor, k: int) -> Tensor:
    """The largest attention (n,) of each segment, as many tokens as its share, (k,) indices; features are (n, C)."""
    n = len(attention)
    segments = torch.arange(n, device=attention.device).tensor_split(max(1, min(SEGMENTS, n // 2)))
    variety = torch.cat([varieties(features[segment]) for segment in segments])  # (n,)
    salience = 1000 * attention
    scores = salience + 0.09 * variety * salience.mean() / variety.mean().clamp(min=1e-12)
    shares = torch.stack([scores[segment].mean() for segment in segments])
    sizes = torch.tensor([len(segment) for segment in segments], device=shares.device)
    budgets = zip(segments, allot(shares, sizes, k), strict=True)
    return torch.cat([segment[top(attention[segment], keep)] for segment, keep in budgets])


def varieties(features: Tensor) -> Tensor:
    """Variance of each token's cosines with all tokens, (m,), from features (m, C). Its cosine with itself counts 0."""
    return cosines(features, features).fill_diagonal_(0).var(1, correction=min(1, len(features) - 1))
