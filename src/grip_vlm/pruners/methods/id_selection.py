"""ID-Selection (arXiv 2604.05601): keep the most important token, damp the tokens similar to it, and so on.

    v_i = the question's attention to token i in layer 2 of the language model (as in PTP)
    k times: keep argmax_i v_i; then v_i *= 1 - exp(-20 (1 - cos(v_i, kept))) for all i

No code of the authors is known. The constant 20 is published; the form of the damping is our reading.

Deviations:

- Importance is the question's attention. Cosines are of the projected features.
- Tokens are removed before the language model, whose first two layers therefore run twice. That cost is part of the
  method and of its measured seconds.
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.early import question_attention

SHARPNESS = 20.0  # the factor of the distance in the exponent


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        attention = question_attention(vlm, encoded, self.name)  # (B, N)
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, visual, _, keep in samples(encoded.state, k):
            mask[row, damped(attention[row, : len(visual)], cosines(visual, visual), keep)] = True
        return Action(mask)


def damped(importance: Tensor, similarity: Tensor, k: int) -> Tensor:
    """The kept tokens, (k,) indices in the order chosen, from importance (n,), at least 0, and similarity (n, n)."""
    value, kept, chosen = importance.double(), torch.zeros_like(importance, dtype=torch.bool), []
    for _ in range(k):
        newest = value.masked_fill(kept, -1.0).argmax()
        kept[newest] = True
        distance = (1 - similarity[newest]).clamp(min=0)  # rounding makes some cosines larger than 1
        value = value * (1 - torch.exp(-SHARPNESS * distance))
        chosen.append(newest)
    return torch.stack(chosen)
