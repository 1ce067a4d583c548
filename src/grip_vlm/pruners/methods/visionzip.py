"""VisionZip (CVPR 2025): tokens that CLS attends to most, and contextual ones into which all the others are merged.

    dominant: the largest attention of CLS, summed over heads
    contextual: of the M others every floor(M / C)-th is a target, C in all; each other one goes to the target whose key
        (mean of heads) has the largest cosine;  x_target + mean(x of those that went there), before the projector

k = dominant + contextual, with C = 10/64 of k as in all of the paper's splits (162 + 30, 108 + 20, 54 + 10); the sum of
a target and a mean, rather than a mean of all, is the authors' code.

Deviations: LLaVA drops CLS itself, which the paper keeps as one of the dominant tokens; a contextual token stands where
its target stood, and positions are kept (theirs: behind the dominant ones, gaps closed: `positions="compact"` closes
them). Towers without CLS: the mean attention of all patches, as the authors do for Qwen2.5-VL.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = look(vlm, encoded, "visionzip")
        parts = tower.salience(), tower.keys().mean(2), tower.features
        samples = zip(*(tower.split(part) for part in parts), tower.most(k), strict=True)
        chosen, merged = zip(*(zipped(a, keys, x, keep) for a, keys, x, keep in samples), strict=True)
        return tower.action(list(chosen), k, list(merged))


def zipped(attention: Tensor, keys: Tensor, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Dominant tokens and targets, (k,) indices, and their features after merging, (k, C).

    Args:
        attention: (n,); keys: (n, d) mean of heads; features: (n, C).
    """
    contextual = round(k * 10 / 64)
    dominant = top(attention, k - contextual)
    if contextual == 0:
        return dominant, features[dominant]
    is_left = torch.ones_like(attention, dtype=torch.bool)
    is_left[dominant] = False
    left = is_left.nonzero()[:, 0]  # (M,)
    targets = left[:: len(left) // contextual][:contextual]  # (C,)
    is_left[targets] = False
    others = is_left.nonzero()[:, 0]  # (M - C,)
    went = torch.nn.functional.one_hot(cosines(keys[others], keys[targets]).argmax(1), contextual).float()
    mean = went.T @ features[others].float() / went.sum(0).clamp(min=1)[:, None]  # (C, width)
    return torch.cat([dominant, targets]), torch.cat([features[dominant], features[targets] + mean])
