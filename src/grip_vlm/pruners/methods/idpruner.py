"""IDPruner's rule (arXiv 2602.13315) without training: maximal marginal relevance with the question's attention.

    next = argmax_i 0.5 a_i - 0.5 max over kept j of cos(v_i, v_j);  the first token is the one of the largest a
    a = the question's attention to each visual token in layer 2 of the language model (as in PTP), scaled to [0, 1]
        over the sample

Deviations:

- In the paper, importance comes from a trained scorer that sees no question. Ours needs no training.
- Cosines are of the projected features.
- Tokens are removed before the language model, whose first two layers therefore run twice. That cost is part of the
  method and of its measured seconds.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import rescaled
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import question_attention

BALANCE = 0.5  # weight of importance; the rest is the weight of redundancy


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        attention = question_attention(vlm, encoded, self.name)  # (B, N)
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, _, keep in samples(encoded.state, k):
            importance = rescaled(attention[row, : len(visual)])
            mask[row, marginal_relevance(importance, cosines(visual, visual), keep)] = True
        return Action(mask)


def marginal_relevance(importance: Tensor, similarity: Tensor, k: int) -> Tensor:
    """The kept tokens, (k,) indices in the order chosen, from importance (n,) and similarity (n, n)."""
    newest = importance.argmax()
    chosen = [newest]
    kept = torch.zeros_like(importance, dtype=torch.bool)
    redundancy = torch.full_like(importance, -torch.inf)
    for _ in range(k - 1):
        kept[newest] = True
        redundancy = torch.maximum(redundancy, similarity[newest])
        value = BALANCE * importance - (1 - BALANCE) * redundancy
        newest = value.masked_fill(kept, -torch.inf).argmax()
        chosen.append(newest)
    return torch.stack(chosen)
