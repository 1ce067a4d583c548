"""VScan (arXiv 2505.22654): tokens by CLS attention, in the whole image and in windows; later those the question ranks.

Before the language model, half of the tokens are the best of each window (a sixteenth of the image) by CLS attention in
a shallow layer (5 of 24). The other half are the best of the image in the layer that the projector reads. Every other
token is averaged into the kept token most similar to it. At half of the language model's depth, a third of the tokens
stays, ranked as in PyramidDrop.

Deviations, in addition to those of `pruners/inside.py`:

- Tokens are merged before the projector. The authors merge after it; the results have a cosine of 0.99.
- If the windows do not divide the local half evenly, the windows with the highest attention give one token more.
- Original positions. The authors' code renumbers them.
"""

from fractions import Fraction

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.features import cosines
from grip_vlm.pruners.inside import Inside
from grip_vlm.subsets import top_k
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.tower import read_tower

WINDOWS = 4  # per row and per column; each has 6 x 6 of CLIP's 24 x 24 patches
SHALLOW = Fraction(5, 24)


class Pruner(Inside):
    depths = (Fraction(0), Fraction(1, 2))

    def shares(self, scale: float) -> list[float]:
        return [scale, scale / 3]

    def enter(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        shallow = read_tower(vlm, encoded, self.name, needs_cls=True, depth=SHALLOW)
        deep = read_tower(vlm, encoded, self.name, needs_cls=True)
        window = (encoded.state.places * WINDOWS).long().clamp(max=WINDOWS - 1)  # (B, N, 2)
        window = (encoded.state.image * WINDOWS + window[..., 0]) * WINDOWS + window[..., 1]
        by_window, by_image = shallow.split(shallow.cls_attention()), deep.split(deep.cls_attention())
        chosen, merged = [], []
        for row, (features, keep) in enumerate(zip(deep.split(deep.features), deep.patches_to_keep(k), strict=True)):
            kept = local_and_global(by_window[row], by_image[row], window[row, deep.tokens[row]], keep)  # (n_b,)
            chosen.append(kept.nonzero()[:, 0])
            merged.append(merge_dropped(features, kept)[kept])
        return deep.action(chosen, k, merged)


def local_and_global(shallow: Tensor, deep: Tensor, window: Tensor, k: int) -> Tensor:
    """Keep k of n tokens, (n,) bool: k // 2 by `shallow`, the windows taking turns, and the others by `deep`.

    Args:
        shallow, deep: (n,) attention of CLS in either layer, below 1.
        window: (n,) the window of each token.
    """
    rank = torch.empty_like(window)  # (n,) of each token in its window, 0 for the best
    for index in set(window.tolist()):
        members = (window == index).nonzero()[:, 0]
        order = members[shallow[members].argsort(descending=True, stable=True)]
        rank[order] = torch.arange(len(members), device=window.device)
    # Attention is below 1, so tokens sort by their rank first.
    local = torch.zeros_like(window, dtype=torch.bool)
    local[(shallow - rank).argsort(descending=True, stable=True)[: k // 2]] = True
    rest = deep.masked_fill(local, -torch.inf)
    return local | top_k(rest[None], torch.tensor([k - k // 2], device=deep.device))[0]


def merge_dropped(features: Tensor, kept: Tensor) -> Tensor:
    """Features (n, D) in which each token that is not kept is averaged into the kept token of the highest cosine."""
    into = kept.nonzero()[:, 0][cosines(features, features[kept]).argmax(1)]  # (n,)
    into = torch.where(kept, torch.arange(len(kept), device=kept.device), into)
    total = torch.zeros_like(features, dtype=torch.float32).index_add(0, into, features.float())
    size = torch.bincount(into, minlength=len(kept)).clamp(min=1)
    return (total / size[:, None]).to(features)
