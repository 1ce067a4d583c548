"""The k-subset Gibbs distribution is what it claims to be, checked by listing every subset where that is possible."""

import math
from itertools import combinations

import pytest
import torch

from grip_vlm import subsets
from grip_vlm.training import gibbs


def random_scores(*shape, scale=1.5, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every_subset(n, k):
    rows = torch.tensor(list(combinations(range(n), k)))
    return torch.zeros(len(rows), n, dtype=torch.bool).scatter_(1, rows, True)


def enumerated(scores, k):
    """Every k-subset of (N,) scores, (S, N), and its probability, (S,), by definition."""
    masks = every_subset(len(scores), k)
    return masks, (masks.double() @ scores).softmax(0)


def distribution_of(scores, k):
    return gibbs.gibbs(scores[None], torch.tensor([k]))


SMALL = [(1, 1), (4, 1), (6, 3), (9, 4), (9, 8), (5, 5)]
small = pytest.mark.parametrize(("n", "k"), SMALL)


# ---- against enumeration ---------------------------------------------------------------------------------------------


@small
def test_log_prob_is_the_enumerated_one_and_sums_to_one(n, k):
    scores = random_scores(n)
    masks, probabilities = enumerated(scores, k)
    found = gibbs.log_prob(distribution_of(scores, k), masks[None])[0]
    torch.testing.assert_close(found.exp(), probabilities, atol=1e-9, rtol=0)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-9)


@small
def test_inclusion_is_the_enumerated_mean(n, k):
    scores = random_scores(n)
    masks, probabilities = enumerated(scores, k)
    torch.testing.assert_close(
        distribution_of(scores, k).inclusion[0], probabilities @ masks.double(), atol=1e-9, rtol=0
    )


def test_the_gradient_of_log_prob_is_the_subset_minus_the_inclusion():
    n, k, step = 8, 3, 1e-5
    scores = random_scores(n)
    mask = every_subset(n, k)[None, 17:18]
    nudge = step * torch.eye(n, dtype=torch.float64)
    up, down = (gibbs.gibbs(scores + sign * nudge, torch.full((n,), k)) for sign in (1, -1))
    each = mask.expand(n, 1, n)
    gradient = (gibbs.log_prob(up, each) - gibbs.log_prob(down, each))[:, 0] / (2 * step)
    torch.testing.assert_close(
        gradient, mask[0, 0].double() - distribution_of(scores, k).inclusion[0], atol=1e-7, rtol=0
    )


def test_spread_is_the_sum_of_the_variances():
    scores = random_scores(7)
    masks, probabilities = enumerated(scores, 3)
    mean = probabilities @ masks.double()
    assert float(distribution_of(scores, 3).spread) == pytest.approx(float((mean * (1 - mean)).sum()), abs=1e-9)


def test_covariance_times_is_close_to_the_enumerated_covariance():
    scores, x = random_scores(14, scale=0.7), random_scores(1, 14, seed=1)
    masks, probabilities = enumerated(scores, 6)
    centred = masks.double() - probabilities @ masks.double()
    exact = (centred.T * probabilities) @ centred @ x[0]
    found = gibbs.covariance_times(distribution_of(scores, 6), x)[0]
    assert float((found - exact).norm() / exact.norm()) < 0.12


def test_adding_a_constant_has_no_covariance_with_the_choice():
    found = gibbs.covariance_times(distribution_of(random_scores(50), 9), torch.full((1, 50), 3.0, dtype=torch.float64))
    assert float(found.abs().max()) < 1e-12


# ---- the two ways to the normaliser ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("k", [64, 192])
def test_the_saddlepoint_is_as_close_as_its_documentation_says(k, scale):
    p = distribution_of(random_scores(576, scale=scale), k).tilted
    d = (p * (1 - p)).sum(1)
    assert float(d) > gibbs.SADDLE_FROM
    quick_pmf, quick_inclusion = gibbs.saddlepoint(p, d)
    exact_pmf, exact_inclusion = gibbs.fourier(p, torch.tensor([k]))
    assert float((quick_pmf - exact_pmf).abs()) < 5e-5
    assert float((quick_inclusion - exact_inclusion).abs().max()) < 2e-4


def test_the_saddlepoint_is_as_close_as_documented_where_it_takes_over():
    # Many tokens, few kept: the most skewed distribution at this variance.
    scores = torch.zeros(4096, dtype=torch.float64)
    distribution = distribution_of(scores, 9)
    assert float((distribution.tilted * (1 - distribution.tilted)).sum()) > gibbs.SADDLE_FROM
    expected = math.lgamma(4097) - math.lgamma(10) - math.lgamma(4088)
    assert float(distribution.log_z) == pytest.approx(expected, abs=5e-5)


def test_equal_scores_have_the_binomial_normaliser_on_both_ways():
    for n, k in [(20, 6), (576, 192)]:
        expected = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        assert float(distribution_of(torch.full((n,), 2.5), k).log_z) == pytest.approx(expected, abs=5e-5)


def test_inclusion_sums_to_k_on_both_ways():
    for k in (3, 64, 192, 573):
        assert float(distribution_of(random_scores(576), k).inclusion.sum()) == pytest.approx(k, abs=1e-9)


# ---- sampling --------------------------------------------------------------------------------------------------------


def test_every_sample_has_exactly_k_members():
    scores = random_scores(4, 200)
    k = torch.tensor([1, 17, 100, 200])
    drawn = gibbs.sample(gibbs.gibbs(scores, k), 16, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sum(-1), k[:, None].expand(4, 16))


def test_samples_follow_the_enumerated_probabilities():
    scores, draws = random_scores(7), 7000
    masks, probabilities = enumerated(scores, 3)  # 35 subsets
    drawn = gibbs.sample(distribution_of(scores, 3), draws, torch.Generator().manual_seed(0))[0]
    counts = (drawn[:, None] == masks).all(-1).sum(0)
    statistic = float(((counts - draws * probabilities) ** 2 / (draws * probabilities)).sum())
    assert int(counts.sum()) == draws
    assert statistic < 65.2  # the 99.9 % quantile of chi-square with 34 degrees of freedom


def test_the_same_seed_samples_the_same_subsets():
    distribution = distribution_of(random_scores(60), 9)
    first, again, other = (gibbs.sample(distribution, 8, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_mode_is_the_top_k():
    scores = random_scores(9)
    masks, probabilities = enumerated(scores, 4)
    assert torch.equal(subsets.top_k(scores[None], torch.tensor([4]))[0], masks[probabilities.argmax()])


# ---- batches, padding, borders ---------------------------------------------------------------------------------------


def padded(scores, width):
    return torch.cat([scores, torch.full((width - len(scores),), -torch.inf, dtype=scores.dtype)])


def test_padding_is_never_sampled():
    scores = torch.stack([padded(random_scores(6), 9), padded(random_scores(9), 9)])
    k = torch.tensor([5, 5])
    sampled = gibbs.sample(gibbs.gibbs(scores, k), 200, torch.Generator().manual_seed(0))
    assert not sampled[0, :, 6:].any()


@pytest.mark.parametrize(("n", "k"), [(7, 3), (300, 60)])
def test_a_padded_row_equals_an_unpadded_one(n, k):
    scores = random_scores(n)
    plain, wide = distribution_of(scores, k), distribution_of(padded(scores, n + 5), k)
    mask = gibbs.sample(plain, 4, torch.Generator().manual_seed(0))
    wide_mask = torch.cat([mask, torch.zeros(1, 4, 5, dtype=torch.bool)], dim=2)
    torch.testing.assert_close(wide.inclusion[:, :n], plain.inclusion, atol=1e-10, rtol=0)
    assert not wide.inclusion[:, n:].any()
    torch.testing.assert_close(gibbs.log_prob(wide, wide_mask), gibbs.log_prob(plain, mask))


def test_a_batch_of_different_budgets_equals_single_runs():
    scores = random_scores(4, 400)
    k = torch.tensor([1, 3, 120, 400])  # both ways to the normaliser, and all tokens kept
    together = gibbs.gibbs(scores, k)
    for row in range(4):
        alone = distribution_of(scores[row], int(k[row]))
        torch.testing.assert_close(together.log_z[row], alone.log_z[0], atol=1e-9, rtol=0)
        torch.testing.assert_close(together.inclusion[row], alone.inclusion[0], atol=1e-9, rtol=0)


def test_keeping_all_leaves_one_subset_that_is_certain():
    distribution = distribution_of(random_scores(6), 6)
    assert gibbs.sample(distribution, 3).all()
    assert float(gibbs.log_prob(distribution, torch.ones(1, 1, 6, dtype=torch.bool))) == pytest.approx(0, abs=1e-12)
    assert float(distribution.spread) == 0


calls = pytest.mark.parametrize("call", [gibbs.gibbs, gibbs.soft_top_k])


@calls
def test_scores_that_are_not_a_number_are_refused(call):
    with pytest.raises(ValueError, match="NaN"):
        call(torch.tensor([[0.0, math.nan, 1.0]]), torch.tensor([1]))


@calls
@pytest.mark.parametrize("k", [0, -1, 3])
def test_a_budget_that_the_tokens_cannot_meet_is_refused(call, k):
    with pytest.raises(ValueError, match="k must be between 1 and"):
        call(torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([k]))


def test_scores_that_differ_by_thousands_stay_finite():
    scores, k = random_scores(3, 60, scale=1e3), torch.tensor([1, 20, 59])
    distribution = gibbs.gibbs(scores, k)
    mask = gibbs.sample(distribution, 4, torch.Generator().manual_seed(0))
    for value in (distribution.log_z, distribution.inclusion, gibbs.log_prob(distribution, mask)):
        assert torch.isfinite(value).all()
    assert torch.equal(mask, subsets.top_k(scores, k)[:, None].expand_as(mask))


# ---- the relaxation's gate -------------------------------------------------------------------------------------------


def test_soft_top_k_opens_gates_that_sum_to_k():
    scores = torch.stack([padded(random_scores(20), 30), random_scores(30), random_scores(30, scale=50.0)])
    k = torch.tensor([6, 11, 30])
    gates = gibbs.soft_top_k(scores, k).exp()
    torch.testing.assert_close(gates.sum(1), k.double(), atol=1e-9, rtol=0)
    assert not gates[0, 20:].any()


def test_the_gradient_of_soft_top_k_includes_the_shift_that_keeps_the_sum():
    n, k, step = 9, torch.tensor([4]), 1e-6
    scores, weight = random_scores(1, n).requires_grad_(), random_scores(n, seed=1)
    (gibbs.soft_top_k(scores, k) * weight).sum().backward()
    nudge = step * torch.eye(n, dtype=torch.float64)
    up, down = (gibbs.soft_top_k(scores.detach() + sign * nudge, k.expand(n)) @ weight for sign in (1, -1))
    torch.testing.assert_close(scores.grad[0], (up - down) / (2 * step), atol=1e-7, rtol=0)


def test_padding_and_full_rows_have_finite_gradients():
    scores = torch.stack([padded(random_scores(5), 7), random_scores(7)]).requires_grad_()
    gates = gibbs.soft_top_k(scores, torch.tensor([2, 7]))
    gates.masked_fill(~torch.isfinite(scores), 0.0).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[0, 5:].any()
    assert not scores.grad[1].any()
