"""DART (arXiv 2502.11494): keep a few pivots and, for each of them, the tokens that duplicate it least.

Pivots are the visual and the question tokens with the largest L1 norms, four of each. In turn, each takes its share of
the tokens that are left, those with the lowest cosine to it. Question pivots stay out of the budget. Where it departs
from the paper:

- There norms are of keys and cosines of hidden states, at the language model's second layer; ours are of what enters
  the language model, so that nothing runs twice and dropped tokens are in no layer's cache.
- Exactly k: the visual pivots are among them, and what is left is shared out evenly, the first pivots taking one more.
  With k up to four, the largest tokens are all there is.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners._features import cosines, samples
from grip_vlm.pruners._untrained import Untrained

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM

PIVOTS = 4  # visual ones, and as many of the question


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, question, keep in samples(encoded.state, k):
            mask[row, least_duplicated(visual, question, keep)] = True
        return Action(mask)


def largest(tokens: Tensor, count: int) -> Tensor:
    """Indices of the tokens (n, D) with the largest L1 norms, the largest first, (count or n,)."""
    return tokens.abs().sum(1).argsort(descending=True, stable=True)[:count]


def least_duplicated(visual: Tensor, question: Tensor, k: int) -> Tensor:
    """(n, D) visual and (m, D) question tokens, m may be 0 -> (k,) indices in the order chosen."""
    own = largest(visual, min(PIVOTS, k))
    pivots = torch.cat([visual[own], question[largest(question, PIVOTS)]])  # (p, D)
    alike = cosines(pivots, visual)  # (p, n)
    alike[:, own] = torch.inf
    chosen = [own]
    share, more = divmod(k - len(own), len(pivots))
    for turn, row in enumerate(alike):
        chosen.append(row.argsort(stable=True)[: share + (turn < more)])
        alike[:, chosen[-1]] = torch.inf
    return torch.cat(chosen)
