"""DART (arXiv 2502.11494): keep a few pivots and, for each of them, the tokens that duplicate it least.

Pivots are the four visual tokens and the four question tokens whose keys have the largest L1 norms. Each pivot in turn
takes its share of the tokens that are left: those with the lowest cosine to it. Pivots of the question do not count in
the budget. Cosines are of the hidden states that enter layer 2 of the language model, after its final norm. Keys are
those of the layer before.

Deviations:

- In the paper, tokens leave inside the language model. Ours leave before it, so they are in no layer's cache. The
  language model's first two layers therefore run twice. That cost is part of the method and of its measured seconds.
- Exactly k tokens are kept. The visual pivots are among them, and the other places are divided evenly over the pivots,
  the first ones taking one more. For k up to four, only the visual pivots are kept.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import read_early_layers

PIVOTS = 4  # visual tokens; as many of the question


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        early = read_early_layers(vlm, encoded, "dart")
        states = early.language.norm(early.inputs[-1]).float()  # (B, L, D)
        keys = early.heads(len(early.inputs) - 2, "k").transpose(1, 2).flatten(2)  # (B, L, heads * d)
        for row, features, _, keep in samples(encoded.state, k):
            visual, question = encoded.prompt.slots[row, : len(features)], early.question[row]  # columns of the prompt
            kept = least_duplicated(
                states[row, visual], states[row, question], keys[row, visual], keys[row, question], keep
            )
            mask[row, kept] = True
        return Action(mask)


def largest(keys: Tensor, count: int) -> Tensor:
    """Indices of the `count` keys (n, D) with the largest L1 norms, largest first; all n if count is larger."""
    return keys.abs().sum(1).argsort(descending=True, stable=True)[:count]


def least_duplicated(visual: Tensor, question: Tensor, visual_keys: Tensor, question_keys: Tensor, k: int) -> Tensor:
    """The kept visual tokens, (k,) indices in the order chosen.

    Args:
        visual: (n, D) hidden states.
        question: (m, D) hidden states; m may be 0.
        visual_keys, question_keys: the keys of both.
    """
    visual_pivots = largest(visual_keys, min(PIVOTS, k))
    pivots = torch.cat([visual[visual_pivots], question[largest(question_keys, PIVOTS)]])  # (p, D)
    similarity = cosines(pivots, visual)  # (p, n)
    similarity[:, visual_pivots] = torch.inf
    chosen = [visual_pivots]
    share, remainder = divmod(k - len(visual_pivots), len(pivots))
    for pivot, row in enumerate(similarity):
        chosen.append(row.argsort(stable=True)[: share + (pivot < remainder)])
        similarity[:, chosen[-1]] = torch.inf
    return torch.cat(chosen)
