"""Speed-up at equal accuracy is read off the upper envelope, log-linearly, and never extrapolated."""

import math

import pytest
import torch

from grip_vlm import pruners
from grip_vlm.budget import Budget
from grip_vlm.cost import llava_cost
from grip_vlm.latency import measure, seconds_at
from grip_vlm.scorer import Scorer, ScorerConfig

TIMES, ACCURACIES = [10.0, 14.0, 20.0, 30.0, 45.0], [50.0, 56.0, 60.0, 62.0, 62.5]


def test_a_measured_accuracy_takes_its_measured_time():
    assert seconds_at(60.0, TIMES, ACCURACIES) == pytest.approx(20.0)


def test_between_two_points_the_time_is_log_linear():
    assert seconds_at(58.0, TIMES, ACCURACIES) == pytest.approx(math.sqrt(14 * 20))


def test_the_ratio_of_a_curve_and_itself_in_0_87_of_the_time_is_one_over_0_87():
    faster = [0.87 * t for t in TIMES]
    assert seconds_at(61, TIMES, ACCURACIES) / seconds_at(61, faster, ACCURACIES) == pytest.approx(1 / 0.87)


def test_a_point_that_is_slower_and_worse_does_not_count():
    assert seconds_at(59.0, [*TIMES, 50.0], [*ACCURACIES, 10.0]) == pytest.approx(seconds_at(59.0, TIMES, ACCURACIES))


def test_an_accuracy_never_reached_has_no_time():
    assert math.isnan(seconds_at(63.0, TIMES, ACCURACIES))


def test_every_job_is_timed_at_every_batch(vlm, examples):
    jobs = [(name, pruners.load(name), Budget.parse(0.1)) for name in ("full", "random")]
    timings = measure(vlm, jobs, examples, batch=2, rounds=2)
    assert [(t.pruner, t.batch) for t in timings] == [("full", 2), ("random", 2)]
    assert all(0 < t.low <= t.seconds <= t.high for t in timings)


def test_the_cost_of_the_language_model_is_at_least_two_thirds_of_a_full_forward(vlm):
    vlm.model.set_attn_implementation("eager")
    try:
        cost = llava_cost(vlm.model, Scorer(ScorerConfig(dim=vlm.dim)))
    finally:
        vlm.model.set_attn_implementation("sdpa")
    assert cost.language_share >= 2 / 3
    assert cost.scorer_share <= 0.05


def test_a_matrix_product_costs_two_flops_per_multiplication():
    from grip_vlm.cost import count

    assert count(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7
