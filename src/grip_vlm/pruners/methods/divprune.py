"""DivPrune (arXiv 2503.02175): keep tokens that are far from each other, whatever the question.

Max-min diversity over d_ij = 1 - cos(v_i, v_j). The first token is the one farthest from its nearest neighbour. Every
further one is the token farthest from its nearest kept token.

Deviation: kept tokens have their original positions, not compact ones (`prune(positions="compact")` closes the gaps).
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, _, keep in samples(encoded.state, k):
            mask[row, farthest_first(visual, keep)] = True
        return Action(mask)


def farthest_first(visual: Tensor, k: int) -> Tensor:
    """The kept tokens of visual (n, D), (k,) indices in the order chosen.

    Their smallest distance is at least a quarter of the largest possible. (Tamir 1991 proves half for a metric, which
    the square root of 2d is.)
    """
    distance = (1 - cosines(visual, visual)).fill_diagonal_(torch.inf)  # (n, n)
    newest = distance.amin(1).argmax()
    chosen = [newest]
    gap = torch.full_like(distance[0], torch.inf)  # (n,) distance to the nearest token chosen
    for _ in range(k - 1):
        gap = torch.minimum(gap, distance[newest])
        gap[newest] = -torch.inf
        newest = gap.argmax()
        chosen.append(newest)
    return torch.stack(chosen)
