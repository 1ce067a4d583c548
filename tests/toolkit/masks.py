"""Random scores and all masks of a few tokens, for distributions that are checked by enumeration."""

from itertools import product

import torch


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


def every_mask(n):
    return torch.tensor(list(product([False, True], repeat=n)))  # (2^n, n)
