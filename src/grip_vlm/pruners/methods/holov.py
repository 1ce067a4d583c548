"""HoloV (NeurIPS 2025): every stretch of the image gets a share of the budget by its attention and its variety.

    16 stretches of neighbouring tokens; in each, S = cosines of features with a zero diagonal
    v_i = variance of row i of S, over the image scaled so that mean |v| = mean |1000 a|, a the attention of CLS
    share of a stretch ~ mean of 1000 a_i + 0.09 v_i;  in a stretch, the largest a are kept

Deviations: v is scaled over the image, where the authors' code scales it in each stretch, so that it drops out of the
shares and of all it decides; shares are rounded by largest remainder, and what exceeds a stretch goes to the others
(theirs: the leftover to the largest, lists filled up with zeros); stretches of unequal length where 16 does not divide
the tokens, and fewer of them where they would hold less than two; features are the tower's; original order and
positions.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import allot, top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look

STRETCHES = 16  # the authors' number for LLaVA


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, "holov", needs_cls=True)
        return tower.action([holistic(attention, x, keep) for attention, x, keep in tower.samples(k)], k)


def holistic(attention: Tensor, features: Tensor, k: int) -> Tensor:
    """The largest attentions of every stretch, as many as its share, (k,) indices, from (n,) and (n, C)."""
    n = len(attention)
    stretches = torch.arange(n, device=attention.device).tensor_split(max(1, min(STRETCHES, n // 2)))
    variety = torch.cat([varieties(features[stretch]) for stretch in stretches])  # (n,)
    salience = 1000 * attention
    scores = salience + 0.09 * variety * salience.mean() / variety.mean().clamp(min=1e-12)
    shares = torch.stack([scores[stretch].mean() for stretch in stretches])
    sizes = torch.tensor([len(stretch) for stretch in stretches], device=shares.device)
    given = zip(stretches, allot(shares, sizes, k), strict=True)
    return torch.cat([stretch[top(attention[stretch], keep)] for stretch, keep in given])


def varieties(features: Tensor) -> Tensor:
    """Variance of every token's cosines with the others, its own counted as zero, (m,) from (m, C)."""
    return cosines(features, features).fill_diagonal_(0).var(1, correction=min(1, len(features) - 1))
