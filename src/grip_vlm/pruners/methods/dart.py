"""DART (arXiv 2502.11494): keep a few pivots and, for each of them, the tokens that duplicate it least.

Pivots are the visual and the question tokens whose keys have the largest L1 norms, four of each. In turn, each takes
its share of the tokens that are left, those with the lowest cosine to it. Question pivots stay out of the budget.
Cosines are of hidden states that enter layer 2 of the language model, after its final norm; keys are those of the layer
before. Where it departs from the paper:

- There tokens leave inside the language model; ours leave before it, so that they are in no layer's cache, and its
  first two layers run twice: their cost is part of the method, and of its measured seconds.
- Exactly k: the visual pivots are among them, and what is left is shared out evenly, the first pivots taking one more.
  With k up to four, the largest tokens are all there is.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import early

PIVOTS = 4  # visual ones, and as many of the question


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        read, slots = early(vlm, encoded, "dart"), encoded.prompt.slots
        states = read.language.norm(read.entering[-1]).float()  # (B, L, D)
        keys = read.heads(len(read.entering) - 2, "k").transpose(1, 2).flatten(2)  # (B, L, heads * d)
        for row, visual, _, keep in samples(encoded.state, k):
            at, asks = slots[row, : len(visual)], read.question[row]
            own = least_duplicated(states[row, at], states[row, asks], keys[row, at], keys[row, asks], keep)
            mask[row, own] = True
        return Action(mask)


def largest(keys: Tensor, count: int) -> Tensor:
    """Indices of the keys (n, D) with the largest L1 norms, the largest first, (count or n,)."""
    return keys.abs().sum(1).argsort(descending=True, stable=True)[:count]


def least_duplicated(visual: Tensor, question: Tensor, visual_keys: Tensor, question_keys: Tensor, k: int) -> Tensor:
    """(n, D) visual and (m, D) question tokens, m may be 0, and their keys -> (k,) indices in the order chosen."""
    own = largest(visual_keys, min(PIVOTS, k))
    pivots = torch.cat([visual[own], question[largest(question_keys, PIVOTS)]])  # (p, D)
    alike = cosines(pivots, visual)  # (p, n)
    alike[:, own] = torch.inf
    chosen = [own]
    share, more = divmod(k - len(own), len(pivots))
    for turn, row in enumerate(alike):
        chosen.append(row.argsort(stable=True)[: share + (turn < more)])
        alike[:, chosen[-1]] = torch.inf
    return torch.cat(chosen)
