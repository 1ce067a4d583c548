"""PuMer (arXiv 2305.17530), as far as it goes before a decoder: drop what the question does not need, merge the rest.

Of the tokens to remove, a quarter is pruned, the least relevant to the question (text-informed pruning; the paper's
ratio for ViLT: 0.1 pruned, 0.3 merged); the others are merged into their likes by bipartite soft matching, and never
with text (modality-aware merging). Where it departs from the paper:

- The paper fine-tunes an encoder that prunes and merges in several layers; ours does it once, without training, before
  the first layer of a decoder that stays as it is. Text is not merged: a decoder's prompt must stay as it was written.
- Relevance there is the attention of text to image; ours is the cosine with the question's word embeddings, those of
  the chat template included. The cosines that decide what merges are of the features, not of keys. Eight pairs merge in
  a round.
- Tokens alternate in the order of the image, not of their relevance, and the most relevant one may be merged too. A
  merged token is the mean of all that went into it: sizes are carried from round to round.
- Exactly k tokens are left. A merged token has the position, and deepstack features, of the one it was merged into.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import relevance
from grip_vlm.pruners.merging import action, merge
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return action(
            encoded, k, lambda visual, question, keep: prune_and_merge(visual, relevance(visual, question), keep)
        )


def prune_and_merge(visual: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(n, D) tokens, (n,) their relevance -> (k,) indices of the tokens left, ascending; (k, D) their features."""
    pruned = (len(visual) - k) // 4
    stay = scores.argsort(descending=True, stable=True)[: len(visual) - pruned].sort().values
    at, merged = merge(visual[stay], k)
    return stay[at], merged
