"""Advantages within a group, running means, and the clipping of probability ratios."""

import math

import pytest
import torch

from grip_vlm.training.advantage import clipped_gain, group_advantage, move_means


def advantage_of(reward, k=None, scale=None):
    reward = torch.tensor(reward)
    k = torch.full((len(reward),), 8) if k is None else torch.tensor(k)
    return group_advantage(reward, k, torch.full_like(k, 64), {} if scale is None else scale)


def test_an_advantage_is_the_distance_to_the_mean_in_standard_deviations():
    found = advantage_of([[0.0, 1.0, 2.0, 3.0]])
    torch.testing.assert_close(found, torch.tensor([[-1.5, -0.5, 0.5, 1.5]]) / math.sqrt(1.25))


def test_a_group_that_hardly_differs_is_divided_by_half_the_usual_deviation():
    found = advantage_of([[0.0, 1.0], [0.50, 0.54]])  # deviations 0.5 and 0.02, half of their mean 0.13
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0], [-0.02 / 0.13, 0.02 / 0.13]]))


@pytest.mark.parametrize("reward", [0.0, 0.7, 1 / 3])
def test_a_group_of_equal_rewards_has_no_advantage_at_all(reward):
    found = advantage_of([[reward] * 8, [0.0, 1.0] * 4])
    assert not found[0].any()
    assert found[1].all()


def test_groups_that_are_all_equal_have_no_advantage_at_all():
    assert not advantage_of([[0.3] * 8] * 2).any()


def test_the_usual_deviation_moves_slowly_and_each_octave_of_budgets_has_its_own():
    scale = {}
    advantage_of([[0.0, 1.0], [0.0, 0.2]], k=[8, 2], scale=scale)  # an eighth and a thirty-second
    assert scale == {"-3": pytest.approx(0.5), "-5": pytest.approx(0.1)}
    advantage_of([[0.0, 0.4]], k=[8], scale=scale)
    assert scale == {"-3": pytest.approx(0.95 * 0.5 + 0.05 * 0.2), "-5": pytest.approx(0.1)}


def test_a_running_mean_moves_by_its_rate_to_the_mean_of_what_is_new():
    means = {"7": 0.5}
    move_means(means, torch.tensor([7, 9, 7]), torch.tensor([0.2, 0.3, 0.4]), rate=0.2)
    assert means == pytest.approx({"7": 0.8 * 0.5 + 0.2 * 0.3, "9": 0.3})


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, 1.2), (1.5, -1.0, -1.5), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8), (1.1, 2.0, 2.2), (0.9, -2.0, -1.8)],
)
def test_the_objective_is_clipped_where_it_would_gain_by_moving_on(ratio, advantage, expected):
    log_ratio = torch.tensor([ratio]).log().requires_grad_()
    gain = clipped_gain(log_ratio, torch.tensor([advantage]))
    assert float(gain.detach()) == pytest.approx(expected)
    gain.sum().backward()
    assert bool(log_ratio.grad == 0) == (abs(expected) != pytest.approx(ratio * abs(advantage)))
