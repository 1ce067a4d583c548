"""The greedy path of the policy without most of the pairs of tokens: values only fall, so most are never needed.

A value is importance less a penalty that grows with every token kept. An old value is therefore an upper bound. Each
round takes the tokens with the highest values, compares them with each other alone, and picks from them while the best
is certain to be the best of all. Then all tokens are compared with the tokens picked, and the next round begins. This
is Minoux's accelerated greedy algorithm (1978), a block of tokens at a time.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from grip_vlm.scorer import Scores

BLOCK = 256  # tokens compared with each other in a round, at first
FEW = 16  # a round with fewer picks doubles the next block; a product with fewer rows rounds differently


def fits(scores: Scores) -> bool:
    """Whether `pick` makes the very choice that comparing all pairs makes, for these scores.

    The cosine of two keys must have the same bits in a product of any size. In float32 on CPUs it has, from FEW rows
    on; `same_bits` tries it on the machine. In float64 it does not, and accelerators choose a kernel by size.
    """
    keys = scores.keys
    usual = keys.device.type == "cpu" and all(part.dtype == torch.float32 for part in scores)
    return usual and keys.shape[1] >= 4 * FEW and same_bits(keys.shape[2])


@cache
def same_bits(width: int) -> bool:
    """Whether parts of a product of 600 random keys (600, width) have the bits of the whole product on this machine."""
    keys = torch.rand(600, width, generator=torch.Generator().manual_seed(0)) - 0.5
    rows = [torch.arange(600)[start :: 600 // size][:size] for start, size in ((0, FEW), (1, 37), (2, BLOCK))]
    whole = keys @ keys.mT
    return all(
        torch.equal(keys[part] @ keys.mT, whole[part]) and torch.equal(keys[part] @ keys[part].mT, whole[part][:, part])
        for part in rows
    )


def pick(scores: Scores, k: int) -> Tensor:
    """The k tokens of one sample that greedy picks, (k,) indices in the order of the picks, ties to the lower index.

    Args:
        scores: without a batch axis, (n,), (n,) and (n, d); at least k tokens are not padding.
    """
    importance, aversion, keys = scores
    value, redundancy, size = importance, torch.zeros_like(importance), BLOCK
    picked = torch.zeros(0, dtype=torch.long)
    while True:
        new = picked_for_certain(value, scores, k - len(picked), size)
        picked = torch.cat([picked, new])
        if len(picked) == k:
            return picked
        size *= 2 if len(new) < FEW else 1
        padded = torch.cat([new, new.new_zeros(max(0, FEW - len(new)))])
        cosine = (keys[padded] @ keys.mT)[: len(new)]  # (picks of the round, n)
        redundancy = torch.maximum(redundancy, cosine.amax(0))
        # The highest cosine gives the lowest value, because rounding keeps order: no other cosine is needed.
        value = torch.minimum(importance, importance + redundancy * -aversion)
        value[picked] = -torch.inf


def picked_for_certain(value: Tensor, scores: Scores, most: int, size: int) -> Tensor:
    """The next picks, from 1 to `most`, as far as the `size` tokens of the highest values decide them, in order.

    Args:
        value: (n,) importance less the penalty for all earlier picks, -inf for those.
    """
    importance, aversion, keys = scores
    ranked, order = value.sort(descending=True, stable=True)
    near = order[:size].sort().values  # in order of index, so that argmax gives ties to the lower one
    bound, first = (float(ranked[size]), int(order[size])) if size < len(value) else (-np.inf, len(value))
    beside = (keys[near] @ keys[near].mT).clamp_(min=0).mul_(-aversion[near]).add_(importance[near])
    beside.fill_diagonal_(-torch.inf)  # (size, size): row j bounds the values of tokens once j is kept
    bounds, values, index = beside.numpy(), value[near].numpy(), near.numpy()
    picks: list[int] = []
    while len(picks) < most:
        best = int(values.argmax())
        if values[best] < bound or (values[best] == bound and index[best] > first):
            break  # a token outside may be better
        picks.append(best)
        np.minimum(values, bounds[best], out=values)
    return near[picks]
