"""Bipartite soft matching down to exactly k tokens: the most alike pairs become their mean, round after round."""

from collections.abc import Callable

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.features import cosines, samples
from grip_vlm.vlms import Encoded

PAIRS = 8  # that merge in one round, ToMe's r for larger towers; as many as will go would merge unlike tokens


def action(encoded: Encoded, k: Tensor, choose: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]) -> Action:
    """Each sample as `choose` leaves it: (n, D) tokens, (m, D) question, how many to keep -> what `merge` returns."""
    mask = torch.zeros_like(encoded.state.visual_mask)  # (B, N)
    features = encoded.prompt.visual.clone()  # (B, N, D)
    for row, visual, question, keep in samples(encoded.state, k):
        at, merged = choose(visual, question, keep)
        mask[row, at] = True
        features[row, at] = merged.to(features.dtype)
    return Action(mask, features)


def merge(visual: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Merge tokens until k are left (ToMe, arXiv 2210.09461, section 3).

    In a round, every second token (0, 2, ..) looks for the most alike of the others, by cosine. The most alike pairs
    merge, PAIRS of them or as many as are needed. A merged token stands where the second of its pair stood, and weighs
    as many tokens as went into it: it is the mean of all of them.

    Args:
        visual: (n, D) in the order in which they are to alternate.
        k: 1 .. n.

    Returns:
        (k,) indices of the tokens left, ascending; (k, D) their features. Tokens that nothing was merged into keep
        theirs to the bit.
    """
    features = visual
    at = torch.arange(len(visual), device=visual.device)  # (n,)
    size = torch.ones_like(features[:, 0])  # (n,)
    while (n := len(at)) > k:
        alike, partner = cosines(features[::2], features[1::2]).max(1)  # (n / 2,), up
        source = alike.argsort(descending=True, stable=True)[: min(PAIRS, n - k)]
        own = torch.arange(n, device=at.device)
        goes = own.clone()
        goes[2 * source] = 2 * partner[source] + 1
        left = own[goes == own]
        weight = (goes == left[:, None]) * size  # (left, n)
        size = weight.sum(1)
        features = weight @ features / size[:, None]
        at = at[left]
    return at, features
