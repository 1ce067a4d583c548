"""CDPruner (arXiv 2506.10967): keep a likely sample of a determinantal point process of relevant, dissimilar tokens.

The kernel is L_ij = r_i cos(v_i, v_j) r_j. r is the relevance to the question, scaled to (0, 1] within the sample. The
k tokens maximise det L greedily (fast greedy MAP, Chen et al., arXiv 1709.05135).

Deviations:

- In the paper, relevance is CLIP's image-text cosine with its sign reversed. A VLM does not carry CLIP's text tower.
  Ours is the cosine with the language model's word embeddings, and keeps its sign. It can cost more than it gives
  (docs/log.md).
- The authors' option to soften r by an exponential is left out.
- Relevance is scaled over one sample, not over the batch. A batch therefore keeps what single runs keep.
- RIDGE is added to the diagonal of the cosines. Without it, any set of more than D tokens has determinant 0.
- Kept tokens have their original positions, not compact ones.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.determinant import greedy_map
from grip_vlm.pruners.features import cosines, relevance, samples
from grip_vlm.vlms import Encoded, FrozenVLM

RIDGE = 1e-4
MIN_RELEVANCE = 1e-6  # about r of the least relevant token; 0 would rule it out


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, question, keep in samples(encoded.state, k):
            r = relevance(visual, question)  # (n,)
            r = (r - r.min() + MIN_RELEVANCE) / (r.max() - r.min() + MIN_RELEVANCE)
            mask[row, greedy_map(cosines(visual, visual), r, keep, RIDGE)] = True
        return Action(mask)
