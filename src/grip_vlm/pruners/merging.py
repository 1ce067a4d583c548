"""Bipartite soft matching down to exactly k tokens: in each round, the most similar pairs become their mean."""

from collections.abc import Callable

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded

PAIRS = 8  # that merge in one round, ToMe's r for larger towers; merging more at once would pair dissimilar tokens


def merge_samples(
    encoded: Encoded, k: Tensor, merge_sample: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
) -> Action:
    """Apply `merge_sample` to each sample.

    Args:
        k: (B,) tokens to keep.
        merge_sample: visual tokens (n, D), question tokens (m, D), tokens to keep -> indices and features as `merge`.
    """
    mask = torch.zeros_like(encoded.state.visual_mask)  # (B, N)
    features = encoded.prompt.visual.clone()  # (B, N, D)
    for row, visual, question, keep in samples(encoded.state, k):
        kept, merged = merge_sample(visual, question, keep)
        mask[row, kept] = True
        features[row, kept] = merged.to(features.dtype)
    return Action(mask, features)


def merge(visual: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Merge tokens until k are left (ToMe, arXiv 2210.09461, section 3).

    In each round, every second token (0, 2, ..) is matched to the most similar of the others, by cosine. The most
    similar PAIRS pairs merge, or fewer if fewer merges are needed. A merged token takes the index of its pair's second
    token. It is the mean of all tokens that went into it.

    Args:
        visual: (n, D) in the order in which tokens alternate between the two sides.
        k: 1 .. n.

    Returns:
        (k,) indices of the tokens left, ascending, and (k, D) their features. Tokens into which nothing was merged have
        theirs unchanged to the bit.
    """
    features = visual
    kept = torch.arange(len(visual), device=visual.device)  # (n,) indices into `visual`
    size = torch.ones_like(features[:, 0])  # (n,) how many tokens went into each
    while (n := len(kept)) > k:
        similarity, partner = cosines(features[::2], features[1::2]).max(1)  # (n / 2,), rounded up
        source = similarity.argsort(descending=True, stable=True)[: min(PAIRS, n - k)]
        index = torch.arange(n, device=kept.device)
        target = index.clone()  # (n,) the token into which each goes
        target[2 * source] = 2 * partner[source] + 1
        left = index[target == index]
        weight = (target == left[:, None]) * size  # (left, n)
        size = weight.sum(1)
        features = weight @ features / size[:, None]
        kept = kept[left]
    return kept, features
