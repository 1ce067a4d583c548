"""VisionZip (CVPR 2025): tokens to which CLS attends most, and contextual tokens into which all others are merged.

    dominant: the largest attention of CLS, summed over heads
    contextual: every floor(M / C)-th of the M others is a target, C in all. Each remaining token is assigned to the
        target whose key (mean over heads) has the largest cosine with its key.
        Features: x_target + mean(x of the tokens assigned to it), before the projector

k = dominant + contextual. C is 10/64 of k, as in all of the paper's splits (162 + 30, 108 + 20, 54 + 10). The authors'
code adds the mean to the target, rather than taking the mean of all; so do we.

Deviations:

- LLaVA drops CLS itself. The paper keeps it as one of the dominant tokens.
- A contextual token takes the place of its target, and positions are kept. Theirs come after the dominant tokens, and
  gaps are closed (`positions="compact"` closes them here).
- Towers without CLS: the mean attention of all patches, as the authors do for Qwen2.5-VL.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import top
from grip_vlm.pruners.features import cosines
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        tower = read_tower(vlm, encoded, self.name)
        parts = tower.salience(), tower.keys().mean(2), tower.features
        samples = zip(*(tower.split(part) for part in parts), tower.patches_to_keep(k), strict=True)
        chosen, merged = zip(*(dominant_and_contextual(*sample) for sample in samples), strict=True)
        return tower.action(list(chosen), k, list(merged))


def dominant_and_contextual(attention: Tensor, keys: Tensor, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Dominant tokens and targets, (k,) indices, and their features after merging, (k, C).

    Args:
        attention: (n,).
        keys: (n, d) mean over heads.
        features: (n, C).
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
    assigned = torch.nn.functional.one_hot(cosines(keys[others], keys[targets]).argmax(1), contextual).float()
    mean = assigned.T @ features[others].float() / assigned.sum(0).clamp(min=1)[:, None]  # (C, width)
    return torch.cat([dominant, targets]), torch.cat([features[dominant], features[targets] + mean])
