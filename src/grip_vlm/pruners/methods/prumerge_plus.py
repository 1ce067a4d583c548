"""LLaVA-PruMerge+ (ICCV 2025): PruMerge, plus tokens spread evenly over the image.

With a share r of outliers, the paper adds a token at every int(1 / (3 r))-th place. That is three times as many as
attention chose. Here a quarter of the kept tokens is therefore chosen by attention. The others are spread evenly in the
raster order of the tokens that are left. Neighbours and the token for the rest are as in `prumerge`.

Deviations: those of `prumerge`. In addition, the even tokens avoid those that are chosen already, which makes k exact.
Theirs may coincide.
"""

import torch
from torch import Tensor

from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.methods import prumerge


class Pruner(prumerge.Pruner):
    def keep(self, attention: Tensor, k: int) -> Tensor:
        best = top(attention, max(1, round(k / 4)))
        left = torch.ones_like(attention, dtype=torch.bool).index_fill(0, best, False).nonzero()[:, 0]
        even = ((torch.arange(k - len(best), device=left.device) + 0.5) * len(left) / max(1, k - len(best))).long()
        return torch.cat([best, left[even]])
