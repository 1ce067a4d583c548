"""The update of GRPO: the clipped loss, exploration, and a bandit that it solves."""

import math

import pytest
import torch

from grip_vlm import policy
from grip_vlm.scorer import Scores
from grip_vlm.training.advantage import group_advantage
from grip_vlm.training.grpo import CLIP_HIGH, CLIP_LOW, clipped_loss, steer

# ---- the clipped loss ------------------------------------------------------------------------------------------------


def test_the_loss_is_the_advantage_weighted_by_the_ratio_to_the_power_of_one_over_root_k():
    log_ratio, advantage = torch.tensor([[0.2, -0.1], [0.3, 0.0]]), torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    loss, clipped = clipped_loss(log_ratio, advantage, torch.tensor([4, 9]))
    expected = -(math.exp(0.1) - math.exp(-0.05) + 0.5 * math.exp(0.1) + 2.0) / 4
    assert float(loss) == pytest.approx(expected)
    assert clipped == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "stops"),
    [(CLIP_HIGH, 1.0, True), (CLIP_HIGH, -1.0, False), (CLIP_LOW, -1.0, True), (CLIP_LOW, 1.0, False)],
)
def test_a_ratio_that_is_far_stops_only_in_the_direction_of_its_advantage(ratio, advantage, stops):
    beyond = 1.01 if ratio > 1 else 0.99
    log_ratio = torch.tensor([[math.log(ratio * beyond)]], requires_grad=True)
    loss, clipped = clipped_loss(log_ratio, torch.tensor([[advantage]]), torch.tensor([1]))
    loss.backward()
    assert bool(log_ratio.grad == 0) == stops
    assert clipped == float(stops)


# ---- exploration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "move"), [(0.9, -1), (0.3, 0), (0.18, 1)])
def test_exploration_is_steered_into_its_band(spread, move):
    assert steer(0.3, spread, 0.2, 0.5) == pytest.approx(0.3 + 0.05 * move)


@pytest.mark.parametrize(("start", "spread"), [(5.0, 0.09), (-5.0, 0.9)])
def test_the_temperature_stays_within_bounds(start, spread):
    assert steer(start, spread, 0.2, 0.5) == start


# ---- the whole update ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_things_in_many_copies_are_learned_to_be_kept_once_each(seed):
    """Reward needs one token of each of two things; importance alone would take one thing twice."""
    generator, scale, k = torch.Generator().manual_seed(seed), {}, torch.tensor([2])
    keys = torch.nn.functional.one_hot(torch.tensor([[0] * 6 + [1] * 6]), 2).float()
    importance = torch.cat([torch.full((1, 6), 1.0), torch.zeros(1, 6)], 1)
    leaves = [importance.requires_grad_(), torch.zeros(1, 12, requires_grad=True)]  # importance, aversion
    optimizer = torch.optim.SGD(leaves, lr=0.5)
    for _ in range(80):
        scores = Scores(*leaves, keys)
        with torch.no_grad():
            order = policy.sample(scores, k, 8, 1.0, generator)
            old = policy.log_prob(scores, order, k, 1.0)
            mask = policy.as_mask(order, k, 12)
            reward = (mask[..., :6].any(2) & mask[..., 6:].any(2)).float()  # (1, 8)
            advantage = group_advantage(reward, k, torch.tensor([12]), scale)
        for _ in range(2):
            now = policy.log_prob(Scores(*leaves, keys), order, k, 1.0)
            optimizer.zero_grad()
            clipped_loss(now - old, advantage, k)[0].backward()
            optimizer.step()
    kept = policy.greedy(Scores(*leaves, keys), k)[0]
    assert kept[:6].sum() == kept[6:].sum() == 1
    assert float(leaves[1].detach().mean()) > 1
