"""PuMer (arXiv 2305.17530), before a decoder: drop what the question does not need, then merge similar tokens.

A quarter of the tokens to remove is pruned: those least relevant to the question (text-informed pruning; the paper's
ratio for ViLT is 0.1 pruned, 0.3 merged). The others are merged into similar tokens by bipartite soft matching, and
never with text (modality-aware merging).

Deviations:

- The paper fine-tunes an encoder that prunes and merges in several layers. Ours does it once, without training, before
  the first layer of a frozen decoder. Text is not merged, because a decoder's prompt must stay as it was written.
- In the paper, relevance is the attention of text to image. Ours is the cosine with the question's word embeddings,
  including those of the chat template.
- The cosines that decide what merges are of the features, not of keys. Eight pairs merge in a round.
- Tokens alternate between the two sides in the order of the image, not of their relevance. The most relevant token may
  be merged too.
- A merged token is the mean of all tokens that went into it: sizes are carried from round to round.
- Exactly k tokens are left. A merged token has the position and the deepstack features of the token into which it was
  merged.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import relevance
from grip_vlm.pruners.merging import merge, merge_samples
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return merge_samples(
            encoded, k, lambda visual, question, keep: prune_and_merge(visual, relevance(visual, question), keep)
        )


def prune_and_merge(visual: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Prune and merge visual tokens (n, D) of relevance (n,) down to k.

    Returns:
        (k,) indices of the tokens left, ascending, and (k, D) their features.
    """
    pruned = (len(visual) - k) // 4
    unpruned = scores.argsort(descending=True, stable=True)[: len(visual) - pruned].sort().values
    kept, merged = merge(visual[unpruned], k)
    return unpruned[kept], merged
