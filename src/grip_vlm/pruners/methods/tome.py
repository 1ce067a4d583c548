"""ToMe (arXiv 2210.09461) on projected tokens: merge the most similar until k are left, whatever the question.

Deviations:

- In the paper, a few tokens merge in every block of the tower, by the keys of its attention. Ours merge after the
  projector, by the cosines of the projected features.
- In the paper, attention is weighted by token size. Here the frozen language model does not learn the sizes.
- Eight pairs merge in a round, for as many rounds as k takes.
- In each round, tokens alternate between the two sides in the raster order of what is left. The authors' code
  alternates over the unmerged tokens followed by the merged ones.
- A merged token has the position of the token into which it was merged. So have the features that some models add in
  later layers (deepstack).
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.merging import merge, merge_samples
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return merge_samples(encoded, k, lambda visual, _, keep: merge(visual, keep))
