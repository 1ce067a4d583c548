"""DivPrune (arXiv 2503.02175): keep tokens that are far from each other, whatever the question.

Max-min diversity over d_ij = 1 - cos(v_i, v_j). The first token is the one farthest from its nearest neighbour. Every
further one is the token farthest from its nearest kept token.

Deviation: kept tokens have their original positions, not compact ones (`prune(positions="compact")` closes the gaps).
"""

import numpy as np
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
    distances = (1 - cosines(visual, visual)).fill_diagonal_(torch.inf).cpu()  # (n, n)
    chosen = [int(distances.amin(1).argmax())]
    distance = distances.numpy()  # whose steps are three times as fast as those of torch, and exact in both
    gap = np.full_like(distance[0], np.inf)  # (n,) distance to the nearest token chosen
    for _ in range(k - 1):
        np.minimum(gap, distance[chosen[-1]], out=gap)
        gap[chosen[-1]] = -np.inf
        chosen.append(int(gap.argmax()))
    return torch.tensor(chosen, device=visual.device)
