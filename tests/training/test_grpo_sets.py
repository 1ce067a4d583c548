"""The update of GRPO over sets points where the mathematics says: by hand, by finite differences and on a bandit."""

import math
from itertools import combinations, pairwise

import pytest
import torch

from grip_vlm import subsets
from grip_vlm.training import gibbs
from grip_vlm.training.advantage import group_advantage
from grip_vlm.training.grpo_sets import (
    CLIP_HIGH,
    CLIP_LOW,
    anchor_gradient,
    first_temperature,
    gibbs_gradient,
    surrogate,
)

N, K = 7, 3


def random_scores(*shape, scale=1.0, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distribution_of(scores, k=K):
    return gibbs.gibbs(scores, torch.full((len(scores),), k))


def every_subset(n=N, k=K):
    """(1, S, N)"""
    rows = torch.tensor(list(combinations(range(n), k)))
    return torch.zeros(len(rows), n, dtype=torch.bool).scatter_(1, rows, True)[None]


def probabilities(scores, masks):
    """By definition: (1, N), (1, S, N) -> (S,)."""
    return (masks[0].double() @ scores[0]).softmax(0)


def kl(distribution, reference):
    """KL(distribution || reference): the mean over subsets of the difference of their log-probabilities."""
    difference = torch.where(torch.isfinite(distribution.scores), distribution.scores - reference.scores, 0.0)
    return float((distribution.inclusion * difference).sum() - (distribution.log_z - reference.log_z))


def finite_differences(function, scores, step=1e-6):
    """d function / d scores, (N,), where function maps (1, N) to a number."""
    nudges = step * torch.eye(scores.shape[1], dtype=torch.float64)
    return torch.stack([(function(scores + n[None]) - function(scores - n[None])) / (2 * step) for n in nudges])


@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
def test_exploration_begins_in_the_middle_of_its_first_band_whatever_the_scale_of_the_scores(scale):
    scores, k = random_scores(4, 50, scale=scale), torch.tensor([2, 4, 8, 16])
    tau = math.exp(first_temperature(scores, k))
    assert float((gibbs.gibbs(scores / tau, k).spread / k).mean()) == pytest.approx(0.375, abs=0.01)


# ---- the gradient ----------------------------------------------------------------------------------------------------


def test_the_gradient_equals_the_formula_worked_out_by_listing_all_subsets():
    old_scores = random_scores(1, N)
    scores = old_scores + random_scores(1, N, scale=0.01, seed=2)
    masks = every_subset()
    picked = masks[:, [3, 11, 20, 30]]
    advantage = torch.tensor([[0.5, -1.0, 1.5, -1.0]], dtype=torch.float64)
    p, p_old = probabilities(scores, masks), probabilities(old_scores, masks)
    pi, pi_old = p @ masks[0].double(), p_old @ masks[0].double()
    d, expected = (pi_old * (1 - pi_old)).sum(), torch.zeros(N, dtype=torch.float64)
    for mask, a in zip(picked[0].double(), advantage[0], strict=True):
        which = (masks[0] == mask).all(-1)
        ratio = ((p[which] / p_old[which]).log() / d.sqrt()).exp()
        assert CLIP_LOW < ratio < CLIP_HIGH
        expected = expected - ratio * a * (mask - pi) / d.sqrt() / 4
    found, clipped = gibbs_gradient(distribution_of(scores), distribution_of(old_scores), picked, advantage)
    torch.testing.assert_close(found[0], expected, atol=1e-9, rtol=0)
    assert clipped == 0


def test_the_anchors_gradient_equals_the_formula_and_nearly_that_of_the_divergence():
    scores, anchor_scores, masks = random_scores(1, N), random_scores(1, N, seed=1), every_subset()
    pi = probabilities(scores, masks) @ masks[0].double()
    v = pi * (1 - pi)
    away = (scores - scores.mean() - anchor_scores + anchor_scores.mean())[0]
    expected = v * (away - (v * away).sum() / v.sum()) / masks[0].sum(-1)[0]
    found = anchor_gradient(distribution_of(scores), distribution_of(anchor_scores))[0]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)

    def divergence(s):
        p = probabilities(s, masks)
        return p @ (p.log() - probabilities(anchor_scores, masks).log())

    true = finite_differences(divergence, scores) / masks[0].sum(-1)[0]
    assert float(torch.cosine_similarity(found, true, dim=0)) > 0.97


def test_on_the_sampling_policy_it_is_the_gradient_of_the_expected_reward():
    scores, masks = random_scores(1, N), every_subset()
    reward = random_scores(masks.shape[1], seed=1)
    # With every subset once in the group, the probability is put into the advantage.
    weighted = probabilities(scores, masks) * reward * masks.shape[1]
    distribution = distribution_of(scores)
    found, _ = gibbs_gradient(distribution, distribution, masks, weighted[None])
    ascent = finite_differences(lambda s: probabilities(s, masks) @ reward, scores)
    torch.testing.assert_close(-found[0] * distribution.spread.sqrt(), ascent, atol=1e-8, rtol=0)


def test_on_a_reused_group_it_is_the_gradient_of_the_weighted_objective():
    old_scores = random_scores(1, N)
    scores = old_scores + random_scores(1, N, scale=0.01, seed=2)
    old, picked = distribution_of(old_scores), every_subset()[:, [1, 8, 33]]
    advantage = torch.tensor([[1.2, -0.4, -0.8]], dtype=torch.float64)

    def loss(s):
        log_ratio = gibbs.log_prob(distribution_of(s), picked) - gibbs.log_prob(old, picked)
        return -(torch.exp(log_ratio / old.spread.sqrt()) * advantage).mean()

    found, clipped = gibbs_gradient(distribution_of(scores), old, picked, advantage)
    assert clipped == 0
    torch.testing.assert_close(found[0], finite_differences(loss, scores), atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("token", "advantage", "stops"), [(0, 1.0, True), (0, -1.0, False), (6, -1.0, True), (6, 1.0, False)]
)
def test_a_ratio_that_is_far_stops_only_in_the_direction_of_its_advantage(token, advantage, stops):
    old = distribution_of(torch.zeros(1, N))
    distribution = distribution_of(
        torch.tensor([[1.0, 0, 0, 0, 0, 0, -1.0]])
    )  # token 0 has become likelier, token 6 less likely
    mask = torch.zeros(1, 1, N, dtype=torch.bool)
    mask[..., [token, 2, 3]] = True
    found, clipped = gibbs_gradient(distribution, old, mask, torch.tensor([[advantage]]))
    assert bool((found == 0).all()) == stops
    assert clipped == float(stops)


def test_following_the_anchor_alone_returns_to_it():
    scores, reference = random_scores(1, 30, scale=2.0), distribution_of(random_scores(1, 30, seed=1), 8)
    distances = []
    for _ in range(60):
        distribution = distribution_of(scores, 8)
        distances.append(kl(distribution, reference))
        scores = scores - 5 * anchor_gradient(distribution, reference)
    assert all(after < before for before, after in pairwise(distances))
    assert distances[-1] < 0.05 * distances[0]


def test_the_spread_of_the_normalised_ratio_is_the_same_for_every_budget():
    scores = random_scores(1, 576)
    moved = scores + random_scores(1, 576, scale=0.05, seed=1)
    for k in (6, 48, 192):
        old, new = distribution_of(scores, k), distribution_of(moved, k)
        mask = gibbs.sample(old, 150, torch.Generator().manual_seed(0))
        log_ratio = (gibbs.log_prob(new, mask) - gibbs.log_prob(old, mask)) / old.spread.sqrt()
        assert 0.04 < float(log_ratio.std()) < 0.06


def test_padding_and_tokens_that_are_all_kept_get_no_gradient():
    scores = torch.cat([random_scores(2, 5), torch.tensor([[0.3, -torch.inf], [-torch.inf, -torch.inf]])], dim=1)
    k = torch.tensor([2, 5])
    distribution, anchor = gibbs.gibbs(scores, k), gibbs.gibbs(2 * scores, k)
    mask = gibbs.sample(distribution, 4, torch.Generator().manual_seed(0))
    found, _ = gibbs_gradient(distribution, distribution, mask, random_scores(2, 4, seed=1))
    for gradient in (found, anchor_gradient(distribution, anchor)):
        assert torch.isfinite(gradient).all()
        assert gradient[0, :6].all()
        assert not gradient[0, 6].any()
        assert not gradient[1].any()


def test_the_surrogate_hands_its_gradient_to_the_scores():
    scores = torch.tensor([[1.0, 2.0, -torch.inf], [0.5, -1.0, 3.0]], requires_grad=True)
    gradient = torch.tensor([[0.1, -0.3, 0.0], [1.0, 2.0, -3.0]], dtype=torch.float64)
    surrogate(scores, gradient).backward()
    torch.testing.assert_close(scores.grad, gradient.float() / 2)


# ---- exploration -----------------------------------------------------------------------------------------------------


def test_a_higher_temperature_explores_more():
    scores = random_scores(1, 60, scale=5.0)
    assert float(distribution_of(scores / math.exp(0.05), 9).spread) > float(distribution_of(scores, 9).spread)


# ---- the whole update ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_token_is_found(seed):
    generator, scale = torch.Generator().manual_seed(seed), {}
    theta, k, counts = random_scores(1, 12, scale=0.1, seed=seed), torch.tensor([2]), torch.tensor([12])
    anchor = distribution_of(theta, 2)
    for _ in range(60):
        old = distribution_of(theta, 2)
        mask = gibbs.sample(old, 8, generator)
        advantage = group_advantage(mask[..., 3].float(), k, counts, scale)
        for _ in range(2):
            distribution = distribution_of(theta, 2)
            theta = theta - 0.3 * (
                gibbs_gradient(distribution, old, mask, advantage)[0] + 0.01 * anchor_gradient(distribution, anchor)
            )
    assert subsets.top_k(theta, k)[0, 3]
    assert float(distribution_of(theta, 2).inclusion[0, 3]) > 0.9
