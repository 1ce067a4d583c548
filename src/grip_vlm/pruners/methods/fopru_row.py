"""FoPru's row strategy (arXiv 2411.14164): keep whole rows of the patch grid, those with the largest sum of attention.

    R_h = sum of s over row h, with s as in `fopru_rank`;  keep the rows with the largest R_h

Deviations:

- The paper's budgets are multiples of a row. Ours may be any k: the best rows are kept whole, and the best tokens by s
  are kept of the next row.
- Rows of all tiles compete with each other.
- The rest is as in `fopru_rank`.
"""

import math

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.methods.fopru_rank import significance
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name)
        side = math.isqrt(tower.features.shape[1])
        scores = tower.split(significance(tower.maps()))
        samples = zip(scores, tower.patches, tower.patches_to_keep(k), strict=True)
        return tower.action([top_rows(s, patches // side, keep) for s, patches, keep in samples], k)


def top_rows(scores: Tensor, row: Tensor, k: int) -> Tensor:
    """k tokens, (k,) indices: row after row in descending sum of scores, in each row the highest scores first.

    Args:
        scores: (n,).
        row: (n,) the row of each token; rows may have any numbers.
    """
    row = torch.unique(row, return_inverse=True)[1]
    sums = scores.new_zeros(int(row.max()) + 1).index_add(0, row, scores)  # (rows,)
    by_score = top(scores, len(scores))
    rank = top(sums, len(sums)).argsort()  # (rows,) 0 for the best
    return by_score[rank[row[by_score]].argsort(stable=True)][:k]
