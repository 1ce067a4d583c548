"""CDPruner (arXiv 2506.10967): keep a likely draw of a determinantal point process of relevant, unlike tokens.

Kernel L_ij = r_i cos(v_i, v_j) r_j, with r the relevance to the question, scaled to (0, 1] within the sample; k tokens
by greedy maximisation of det L (fast greedy MAP, Chen et al., arXiv 1709.05135). Where it departs from the paper:

- Relevance there is CLIP's image-text cosine, with its sign turned. A VLM does not carry CLIP's text tower; ours is the
  cosine with the language model's word embeddings, whose sign stays. It can cost more than it gives: docs/log.md. The
  authors' option to soften r by an exponential is left out.
- Relevance is scaled over one sample, not over the batch, so that a batch keeps what single runs keep.
- RIDGE is added to the cosines' diagonal: without it, any set of more than D tokens has determinant 0.
- Kept tokens have their original positions, not compact ones.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines, relevance, samples
from grip_vlm.vlms import Encoded, FrozenVLM

RIDGE = 1e-4
LEAST = 1e-6  # the least relevant token's r, about; 0 would forbid it


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, question, keep in samples(encoded.state, k):
            r = relevance(visual, question)  # (n,)
            r = (r - r.min() + LEAST) / (r.max() - r.min() + LEAST)
            mask[row, greedy_map(cosines(visual, visual), r, keep)] = True
        return Action(mask)


def greedy_map(similarity: Tensor, r: Tensor, k: int) -> Tensor:
    """The token that raises det(diag(r) (S + ridge) diag(r)) most, k times: (n, n), (n,) -> (k,) in the order chosen.

    det factors into the product of r squared and det S, so only the Cholesky rows of S grow, in float64.
    """
    similarity = similarity.double()
    similarity.diagonal().add_(RIDGE)
    rows = similarity.new_zeros(k, len(r))  # (k, n) of the Cholesky factor
    rest = similarity.diagonal().clone()  # (n,) what of each token the chosen ones do not explain
    chosen = []
    for step in range(k):
        newest = (r.double() ** 2 * rest).argmax()
        rows[step] = (similarity[newest] - rows[:step, newest] @ rows[:step]) / rest[newest].sqrt()
        rest = rest - rows[step] ** 2
        rest[newest] = -torch.inf
        chosen.append(newest)
    return torch.stack(chosen)
