"""LLaVA-PruMerge+ (ICCV 2025): PruMerge with tokens spread evenly over the image beside those CLS attends to most.

With a share r of outliers, the paper adds a token at every int(1 / (3 r))-th place: three times as many as attention
chose. So a quarter of the kept tokens is chosen by attention here, and the others lie evenly in the raster order of
what is left. Neighbours and the token for the rest are as in `prumerge`.

Deviations: as in `prumerge`; the even ones avoid tokens chosen already (theirs may fall together), which makes k exact.
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
