"""The lazy greedy path keeps the very tokens that the plain loop over all pairs keeps."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from grip_vlm import lazy, policy
from grip_vlm.scorer import Scores


def plain(scores, k):
    """All pairs, then one step per token: (B, N) bool."""
    beside = (scores.keys @ scores.keys.mT).clamp(min=0) * -scores.aversion[:, None] + scores.importance[:, None]
    mask = torch.zeros_like(scores.importance, dtype=torch.bool)
    for row, keep in enumerate(k.tolist()):
        value = scores.importance[row]
        for _ in range(keep):
            best = value.argmax()
            mask[row, best] = True
            value = torch.minimum(value, beside[row, best])
            value[best] = -torch.inf
    return mask


def scores_of(b, n, d=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    importance, aversion = (torch.randn(b, n, generator=generator) for _ in range(2))
    keys = F.normalize(torch.randn(b, n, d, generator=generator), dim=-1)
    return Scores(importance, 2 * aversion.abs(), keys)


def rounded(scores):
    """With many equal values: importance in halves, aversion 1, keys of a few directions."""
    few = scores.keys[:, :5][:, torch.arange(scores.keys.shape[1]) % 5]
    return Scores((2 * scores.importance).round() / 2, torch.ones_like(scores.aversion), few)


def padded(scores):
    """The last third of the first row is padding, with keys that would repeat everything."""
    importance, keys = scores.importance.clone(), scores.keys.clone()
    start = 2 * importance.shape[1] // 3
    importance[0, start:] = -torch.inf
    keys[0, start:] = keys[0, :1]
    return Scores(importance, scores.aversion, keys)


def opposite(scores):
    """Keys in opposite pairs: half of all cosines are negative."""
    half = scores.keys[:, ::2]
    return scores._replace(keys=torch.stack([half, -half], 2).flatten(1, 2)[:, : scores.keys.shape[1]])


KINDS = {
    "random": lambda scores: scores,
    "ties": rounded,
    "padding": padded,
    "no aversion": lambda scores: scores._replace(aversion=torch.zeros_like(scores.aversion)),
    "negative aversion": lambda scores: scores._replace(aversion=-scores.aversion),
    "great aversion": lambda scores: scores._replace(aversion=50 * scores.aversion),
    "opposite keys": opposite,
    "equal importance": lambda scores: scores._replace(importance=torch.zeros_like(scores.importance)),
    "all equal": lambda scores: Scores(*(torch.ones_like(part) / part.shape[-1] ** 0.5 for part in scores)),
    "ties and padding": lambda scores: padded(rounded(scores)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [64, 100, 257, 600])
@pytest.mark.parametrize("d", [1, 7, 96])
def test_the_lazy_path_keeps_what_the_plain_loop_keeps(kind, n, d):
    scores = KINDS[kind](scores_of(2, n, d, seed=n))
    for k in ([1, 2], [n // 9, n // 3], [n // 2, n]):
        assert torch.equal(policy.greedy(scores, torch.tensor(k)), plain(scores, torch.tensor(k)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_so_do_precisions_in_which_a_product_depends_on_its_size(kind, dtype):
    scores, k = Scores(*(part.to(dtype) for part in KINDS[kind](scores_of(2, 300)))), torch.tensor([40, 111])
    assert not lazy.fits(scores)
    assert torch.equal(policy.greedy(scores, k), plain(scores, k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 33, 128, 200])
def test_every_round_picks_what_the_plain_loop_would_pick_next(kind, size):
    scores = KINDS[kind](scores_of(1, 200, 5))
    row = Scores(*(part[0] for part in scores))
    steps = [plain(scores, torch.tensor([k]))[0] for k in range(61)]
    expected = [int((after ^ before).nonzero()) for before, after in pairwise(steps)]
    assert lazy.pick(row, 60).tolist() == expected
    first = lazy.picked_for_certain(row.importance, row, 60, size).tolist()
    assert first == expected[: len(first)]
    assert first


@pytest.mark.parametrize("width", [1, 5, 96, 256, 1024])
def test_products_of_any_size_have_the_same_bits_on_this_machine(width):
    """If this fails, the choice is still right, but as slow as comparing all pairs."""
    assert lazy.same_bits(width)
