"""Exactly k of N: the highest scores, never padding, and a clear refusal of scores and budgets that make no sense."""

import math
from itertools import combinations, pairwise

import pytest
import torch

from grip_vlm import subsets


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_top_k_is_the_subset_with_the_highest_sum_of_scores():
    scores = random_scores(9)
    members = torch.tensor(list(combinations(range(9), 4)))  # (126, 4)
    best = members[scores[members].sum(1).argmax()]
    assert subsets.top_k(scores[None], torch.tensor([4]))[0].nonzero()[:, 0].tolist() == best.tolist()


def test_ties_go_to_the_lower_index():
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    chosen = subsets.top_k(scores, torch.tensor([2, 3]))
    assert chosen.int().tolist() == [[0, 1, 1, 0, 0], [1, 1, 1, 0, 0]]


def test_the_subsets_of_growing_budgets_are_nested():
    scores = random_scores(1, 30)
    chosen = [subsets.top_k(scores, torch.tensor([k])) for k in range(1, 31)]
    assert all(bool((small <= large).all()) for small, large in pairwise(chosen))


def test_padding_is_never_among_the_top_k():
    scores = random_scores(2, 9)
    scores[0, 6:] = -torch.inf
    assert not subsets.top_k(scores, torch.tensor([5, 5]))[0, 6:].any()


def test_tokens_with_a_finite_score_are_valid():
    valid = subsets.valid_tokens(torch.tensor([[0.0, -1.0, -torch.inf]]), torch.tensor([2]))
    assert valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_scores_that_are_nan_or_infinite_are_refused(wrong):
    with pytest.raises(ValueError, match="NaN"):
        subsets.top_k(torch.tensor([[0.0, wrong, 1.0]]), torch.tensor([1]))


@pytest.mark.parametrize("k", [0, -1, 3])
def test_a_budget_that_the_tokens_cannot_meet_is_refused(k):
    with pytest.raises(ValueError, match="k must be between 1 and"):
        subsets.top_k(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([k]))


def test_scores_that_differ_by_thousands_have_an_exact_top_k():
    scores = 1e3 * random_scores(3, 60)
    assert subsets.top_k(scores, torch.tensor([1, 20, 59])).sum(1).tolist() == [1, 20, 59]
