"""OTPrune (arXiv 2602.20205): keep tokens whose rows of the Gram matrix span the most, whatever the question.

    X = features whose channels have unit norm over the image;  S = X X';  g = 0.01
    greedily maximise log det(I + g S S') over the kept rows and columns

It is the paper's surrogate for the optimal transport from all tokens to the kept ones.

Deviations: features are the projected ones, normed over the sample. Kept tokens have their original positions.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.determinant import greedy_map
from grip_vlm.pruners.features import samples
from grip_vlm.vlms import Encoded, FrozenVLM

GAIN = 0.01


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, _, keep in samples(encoded.state, k):
            mask[row, greedy_map(transport_kernel(visual), torch.ones_like(visual[:, 0]), keep, ridge=1.0)] = True
        return Action(mask)


def transport_kernel(visual: Tensor) -> Tensor:
    """g S S', (n, n) float64, from visual tokens (n, D)."""
    x = torch.nn.functional.normalize(visual.double(), dim=0)
    gram = x @ x.T
    return GAIN * gram @ gram.T
