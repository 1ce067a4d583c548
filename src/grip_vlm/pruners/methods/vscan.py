"""VScan (arXiv 2505.22654): the best by CLS attention in the image and its windows, halfway the question's choice.

Before the language model: half of the tokens are the best of windows (a sixteenth of the image each) by CLS attention
in a shallow layer (5 of 24), half the best of the image in the layer that feeds the language model; every other token
is averaged into the kept one most similar to it. At half of the language model's depth, a third of them stays, ranked
as in PyramidDrop.

Deviations, beside those of `_inside`: where the local half is no multiple of the windows, those with the highest
attention give one more; original positions (the code counts anew).
"""

from fractions import Fraction

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.features import cosines
from grip_vlm.pruners.inside import Inside
from grip_vlm.subsets import top_k
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import look

WINDOWS = 4  # in a row and in a column: 6 x 6 of the 24 x 24 patches of CLIP
SHALLOW = Fraction(5, 24)


class Pruner(Inside):
    depths = (Fraction(0), Fraction(1, 2))

    def shares(self, scale: float) -> list[float]:
        return [scale, scale / 3]

    def enter(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        shallow = look(vlm, encoded, "vscan", needs_cls=True, depth=SHALLOW)
        deep = look(vlm, encoded, "vscan", needs_cls=True)
        window = (encoded.state.places * WINDOWS).long().clamp(max=WINDOWS - 1)  # (B, N, 2)
        window = (encoded.state.image * WINDOWS + window[..., 0]) * WINDOWS + window[..., 1]
        near, far = shallow.split(shallow.cls_attention()), deep.split(deep.cls_attention())
        chosen, means = [], []
        for row, (features, keep) in enumerate(zip(deep.split(deep.features), deep.most(k), strict=True)):
            kept = both(near[row], far[row], window[row, deep.tokens[row]], keep)  # (n_b,)
            chosen.append(kept.nonzero()[:, 0])
            means.append(merged(features, kept)[kept])
        return deep.action(chosen, k, means)


def both(shallow: Tensor, deep: Tensor, window: Tensor, k: int) -> Tensor:
    """k of n tokens, (n,) bool: k // 2 by `shallow` in their windows in turn, the others by `deep`; all (n,)."""
    place = torch.empty_like(window)  # of each token among those of its window
    for one in set(window.tolist()):
        own = (window == one).nonzero()[:, 0]
        place[own[shallow[own].argsort(descending=True, stable=True)]] = torch.arange(len(own), device=window.device)
    # Attention is below 1, so that the place in the window comes first.
    local = torch.zeros_like(window, dtype=torch.bool)
    local[(shallow - place).argsort(descending=True, stable=True)[: k // 2]] = True
    rest = deep.masked_fill(local, -torch.inf)
    return local | top_k(rest[None], torch.tensor([k - k // 2], device=deep.device))[0]


def merged(features: Tensor, kept: Tensor) -> Tensor:
    """(n, D) with each token that is not kept averaged into the kept one of the highest cosine."""
    into = kept.nonzero()[:, 0][cosines(features, features[kept]).argmax(1)]  # (n,)
    into = torch.where(kept, torch.arange(len(kept), device=kept.device), into)
    total = torch.zeros_like(features, dtype=torch.float32).index_add(0, into, features.float())
    size = torch.bincount(into, minlength=len(kept)).clamp(min=1)
    return (total / size[:, None]).to(features)
