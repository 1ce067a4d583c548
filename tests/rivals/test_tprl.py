"""PPO over independent keeps: advantages, the price of missing the budget, the critic, and a bandit that it solves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toolkit.masks import every_mask, random_scores, rng

from grip_vlm.rivals import bernoulli
from grip_vlm.rivals.tprl import Config, Critic, advantages, bernoulli_imitation, missed
from grip_vlm.training.advantage import clipped_gain


def test_on_the_sampling_policy_the_objective_has_the_gradient_of_the_expected_reward():
    scores, k, masks = random_scores(1, 4).requires_grad_(), torch.tensor([2]), every_mask(4)
    reward = random_scores(16, seed=1)
    logits = bernoulli.logits(scores, k).expand(16, 4)
    log_p = bernoulli.log_prob(logits, masks)
    p = log_p.exp()
    [expected] = torch.autograd.grad((p * reward).sum(), scores, retain_graph=True)
    [found] = torch.autograd.grad((p.detach() * clipped_gain(log_p - log_p.detach(), reward)).sum(), scores)
    torch.testing.assert_close(found, expected)


def test_the_advantage_of_one_step_is_generalised_advantage_estimation_in_units_of_its_deviation():
    reward, value, gamma, decay = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.2, 0.4, 0.6]), 0.99, 0.95
    rewards, values, ahead = reward[:, None], torch.stack([value, torch.zeros(3)], dim=1), torch.zeros(3)
    for step in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, step] + gamma * values[:, step + 1] - values[:, step]
        ahead = delta + gamma * decay * ahead
    torch.testing.assert_close(ahead, torch.tensor([0.8, -0.4, -0.1]))
    expected = (ahead - 0.1) / (0.26**0.5)
    torch.testing.assert_close(advantages(reward, value), expected, atol=1e-3, rtol=0)


def test_rewards_that_are_all_foreseen_have_no_advantage():
    assert not advantages(torch.tensor([0.3, 0.9]), torch.tensor([0.3, 0.9])).any()


def test_missing_the_budget_costs_on_either_side_and_at_most_one():
    kept = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    assert missed(kept, torch.tensor([2, 2, 1, 3, 2])).tolist() == [0.5, 0.5, 1, 1, 0]


def test_the_critic_does_not_read_padding(vlm, examples):
    critic = Critic(vlm.dim)
    state = vlm.encode(vlm.inputs([e.image for e in examples[:1]], [e.question for e in examples[:1]])).state
    wide = replace(
        state,
        question=torch.cat([state.question, 9 * random_scores(*state.question.shape)], dim=1),
        question_mask=torch.cat([state.question_mask, torch.zeros_like(state.question_mask)], dim=1),
    )
    k = torch.tensor([5])
    torch.testing.assert_close(critic(wide, k), critic(state, k))
    assert critic(state, torch.tensor([50])) != critic(state, k)


def test_ppo_finds_a_planted_token_and_keeps_the_budget():
    theta, k, generator = torch.zeros(1, 12, requires_grad=True), torch.full((64,), 3), rng()
    optimizer = torch.optim.SGD([theta], lr=2.0)
    for _ in range(150):
        with torch.no_grad():
            before = bernoulli.logits(theta.expand(64, 12), k)
            kept = bernoulli.sample(before, generator)
            old = bernoulli.log_prob(before, kept)
            gained = advantages(kept[:, 5].float() - missed(kept, k), torch.zeros(64))
        for _ in range(2):
            now = bernoulli.log_prob(bernoulli.logits(theta.expand(64, 12), k), kept)
            optimizer.zero_grad()
            (-clipped_gain(now - old, gained).mean()).backward()
            optimizer.step()
    p = bernoulli.logits(theta.detach(), k[:1]).sigmoid()[0]
    assert float(p[5]) > 0.9
    assert 2 < float(p.sum()) < 4


def test_epochs_below_one_are_refused():
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        Config(out=Path("nowhere"), epochs=0)


def test_the_imitation_pulls_each_token_towards_the_teachers_top_k():
    scores = torch.tensor([[0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -torch.inf, -torch.inf]], requires_grad=True)
    k, teacher = torch.tensor([2, 1]), torch.tensor([[0.5, -0.1, 0.2, 0.3], [0.1, 0.6, 0.0, 0.0]])
    bernoulli_imitation(scores, k, teacher).backward()
    chosen = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]])
    p = bernoulli.logits(scores.detach(), k).sigmoid()
    torch.testing.assert_close(scores.grad, (p - chosen) / k[:, None] / 2)
