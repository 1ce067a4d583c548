"""SVD-Prune (arXiv 2604.11530): keep the tokens with the highest leverage on the image's leading singular directions.

F = U S V' are the projected tokens less their mean. r is the smallest rank that holds 90 % of the energy, the sum of
the squared singular values. The leverage of token t is the sum of U_ti squared over i <= r, divided by r. Tokens with
large features weigh more. The paper's code is not public.

Deviations:

- Centring is ours. A third party's port does not centre, and the summaries do not say. Without centring, the mean
  direction holds most of the energy, and the kept tokens are no better than random ones (docs/log.md).
- The paper's share of energy is not published. 90 % is that of a third party's port.
- r is at most half of the tokens. With all directions, every leverage would be the same.
- Kept tokens have their original positions. The paper does not say.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import samples
from grip_vlm.subsets import top_k
from grip_vlm.vlms import Encoded, FrozenVLM

ENERGY = 0.9


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        scores = torch.full(encoded.state.visual_mask.shape, -torch.inf, device=k.device)
        for row, visual, _, _ in samples(encoded.state, k):
            scores[row, : len(visual)] = leverage(visual - visual.mean(0))
        return Action(top_k(scores, k))


def leverage(visual: Tensor) -> Tensor:
    """Leverage of each token of visual (n, D), (n,); the sum is 1."""
    left, singular, _ = torch.linalg.svd(visual, full_matrices=False)  # (n, min(n, D)), descending (min(n, D),)
    energy = singular.square().cumsum(0)
    rank = int((energy < ENERGY * energy[-1]).sum()) + 1
    rank = min(rank, max(1, len(visual) // 2))
    shares: Tensor = left[:, :rank].square().mean(1)
    return shares
