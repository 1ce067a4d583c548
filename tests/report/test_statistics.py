"""Resampling, Holm's correction and the numbers of a curve, against what can be worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from grip_vlm.report.curves import bjontegaard, cost_at, frontier, hypervolume, log_area, log_cost
from grip_vlm.report.statistics import holm, percentile_interval, resampled_means, seed_shares, student_interval

COSTS, ACCURACIES = [10.0, 14.0, 20.0, 30.0, 45.0], [50.0, 56.0, 60.0, 62.0, 62.5]


def test_resampled_means_are_distributed_as_all_resamples_there_are():
    scores = np.array([0.0, 0.0, 1.0])
    exact = [np.mean(picked) for picked in itertools.product(scores, repeat=3)]
    drawn = resampled_means([scores], np.random.default_rng(0))[:, 0]
    for value in (0, 1 / 3, 2 / 3, 1):
        assert np.isclose(drawn, value).mean() == pytest.approx(np.isclose(exact, value).mean(), abs=0.01)


def test_all_rows_are_resampled_with_the_same_items():
    scores = np.random.default_rng(1).random((2, 9))
    drawn = resampled_means([scores[0], scores[1], scores[0] + scores[1]], np.random.default_rng(0), 50)
    assert drawn[:, 2] == pytest.approx(drawn[:, 0] + drawn[:, 1])


def test_the_items_of_an_image_are_drawn_together():
    scores, images = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), ["b", "b", "a"]
    drawn = resampled_means(scores, np.random.default_rng(0), images=images)
    twice = {(2, 0): (1.0, 0.5), (1, 1): (2 / 3, 1 / 3), (0, 2): (0.0, 0.0)}  # how often b and a -> means
    assert set(map(tuple, drawn.round(9).tolist())) == {tuple(np.round(means, 9)) for means in twice.values()}
    assert np.isclose(drawn[:, 0], 2 / 3).mean() == pytest.approx(0.5, abs=0.01)


def test_images_of_one_item_each_are_items():
    scores = np.random.default_rng(1).random((2, 9))
    drawn = resampled_means(scores, np.random.default_rng(0), 50)
    assert (resampled_means(scores, np.random.default_rng(0), 50, list("abcdefghi")) == drawn).all()


def test_the_interval_is_about_two_standard_errors_on_each_side():
    drawn = resampled_means([[0.0, 1.0] * 200], np.random.default_rng(0))[:, 0]
    assert percentile_interval(drawn) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)


def test_an_interval_may_end_at_infinity():
    assert percentile_interval([1.0] * 90 + [math.inf] * 10) == (1.0, math.inf)


def test_there_is_no_interval_of_what_is_sometimes_undefined():
    assert all(map(math.isnan, percentile_interval([1.0, 2.0, math.nan])))


def test_resampled_seeds_vary_as_seeds_do():
    values, shares = np.array([3.0, 5.0, 10.0]), seed_shares(3, np.random.default_rng(0))
    assert shares.sum(1) == pytest.approx(np.ones(len(shares)))
    means = shares @ values
    assert means.mean() == pytest.approx(6, abs=0.05)
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)


def test_one_seed_has_all_of_every_resample():
    assert set(seed_shares(1, np.random.default_rng(0)).ravel()) == {1.0}


def test_without_seeds_the_interval_is_the_normal_one():
    assert student_interval(1.0, 0.25, []) == pytest.approx((1 - 1.96 * 0.5, 1 + 1.96 * 0.5, 0.0455), abs=1e-3)


def test_where_two_seeds_make_all_of_the_variance_the_interval_is_students_with_one_degree_of_freedom():
    assert student_interval(2.0, 1.0, [(1.0, 2)]) == pytest.approx((2 - 12.706, 2 + 12.706, 2 * 0.1476), abs=1e-3)


def test_degrees_of_freedom_are_satterthwaites():
    by_welch = (0.3 + 0.5) ** 2 / (0.3**2 / 2 + 0.5**2 / 4)
    low, high, p = student_interval(1.5, 0.8, [(0.3, 3), (0.5, 5)])
    assert p == pytest.approx(2 * stats.t.sf(1.5 / 0.8**0.5, by_welch))
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, by_welch) * 0.8**0.5)


def test_what_never_varies_is_certain_of_its_value():
    assert student_interval(0.5, 0.0, []) == (0.5, 0.5, 0.0)
    assert student_interval(0.0, 0.0, [(0.0, 3)]) == (0.0, 0.0, 1.0)


def test_three_seeds_that_agree_by_chance_are_rarely_called_certain():
    """Two methods of equal accuracy whose training seeds are all that differs, 3 against 3."""
    seeds = np.random.default_rng(0).normal(size=(4000, 2, 3))
    parts = seeds.var(2, ddof=1) / 3
    p = [
        student_interval(a - b, va + vb, [(va, 3), (vb, 3)])[2]
        for (a, b), (va, vb) in zip(seeds.mean(2), parts, strict=True)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.06
    assert np.mean(np.array(p) < 0.001) < 0.003


def test_holm_multiplies_the_least_by_all_and_the_largest_by_one():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_nor_puts_a_larger_p_before_a_smaller():
    assert holm([0.6, 0.5, 0.02]) == pytest.approx([1.0, 1.0, 0.06])


def test_the_frontier_is_what_nothing_as_cheap_or_cheaper_equals():
    cost, accuracy = [0.1, 0.1, 0.2, 0.2, 0.9, 1.0], [0.5, 0.4, 0.6, 0.55, 0.6, 0.7]
    assert frontier(cost, accuracy).tolist() == [0, 2, 5]


def test_the_area_of_a_line_over_the_logarithm_is_its_middle():
    assert log_area([0.01, 0.1, 1.0], [[20.0, 30.0, 40.0], [7.0, 7.0, 7.0]]) == pytest.approx([30.0, 7.0])


def test_the_area_weighs_a_budget_by_its_share_of_the_logarithm():
    assert log_area([1, 10, 1000], [0.0, 1.0, 1.0]) == pytest.approx((0.5 * 1 + 1 * 2) / 3)


def test_the_hypervolume_is_the_area_under_the_staircase():
    # From 1 to 100: nothing until 10, a half until 31.6 (a quarter of the width), 0.8 from there on.
    assert hypervolume([10, 10**1.5], [0.5, 0.8], 1, 100) == pytest.approx(0.25 * 0.5 + 0.25 * 0.8)


def test_what_is_better_than_all_tokens_dominates_no_more_than_they_do():
    assert hypervolume([1, 10], [1.2, 1.2], 1, 100) == pytest.approx(1)


def test_dominated_dear_and_negative_points_add_nothing_to_the_hypervolume():
    alone = hypervolume([10.0], [0.5], 1, 100)
    assert hypervolume([1, 10, 20, 200], [-0.3, 0.5, 0.4, 0.9], 1, 100) == pytest.approx(alone) == 0.25


def test_half_the_cost_everywhere_is_a_bjontegaard_difference_of_minus_50_percent():
    halved = log_cost([cost / 2 for cost in COSTS], ACCURACIES)
    assert bjontegaard(halved, log_cost(COSTS, ACCURACIES)) == pytest.approx(-0.5)
    assert bjontegaard(log_cost(COSTS, ACCURACIES), halved) == pytest.approx(1.0)


def test_the_bjontegaard_difference_is_over_the_accuracies_that_both_reach():
    # Straight in the logarithm, from 2 to 4: ours goes from 2 to 4 and theirs from 1 to 2.
    ours, theirs = log_cost(np.exp([0, 4]), [0, 4]), log_cost(np.exp([1, 3]), [2, 6])
    assert bjontegaard(ours, theirs) == pytest.approx(math.exp(3 - 1.5) - 1)


@pytest.mark.parametrize("theirs", [([1.0], [55.0]), ([1.0, 2.0], [10.0, 20.0]), ([1.0, 2.0], [55.0, 54.0])])
def test_curves_without_common_accuracies_have_no_bjontegaard_difference(theirs):
    assert math.isnan(bjontegaard(log_cost(COSTS, ACCURACIES), log_cost(*theirs)))


def test_a_measured_accuracy_takes_its_measured_cost():
    assert cost_at(60.0, COSTS, ACCURACIES) == pytest.approx(20.0)


def test_between_two_points_the_cost_is_log_linear():
    assert cost_at(58.0, COSTS, ACCURACIES) == pytest.approx(math.sqrt(14 * 20))


def test_a_point_that_costs_more_and_is_worse_does_not_count():
    assert cost_at(59.0, [*COSTS, 50.0], [*ACCURACIES, 10.0]) == pytest.approx(cost_at(59.0, COSTS, ACCURACIES))


def test_below_the_cheapest_point_nothing_is_extrapolated():
    assert cost_at(40.0, COSTS, ACCURACIES) == pytest.approx(10.0)


def test_an_accuracy_never_reached_costs_infinitely_much():
    assert math.isinf(cost_at(63.0, COSTS, ACCURACIES))
