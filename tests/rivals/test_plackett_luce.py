"""Plackett-Luce samples and their log-probabilities agree, for every ordered sample of 3 out of 5."""

from itertools import permutations

import pytest
import torch

from grip_vlm.rivals import plackett_luce

ORDERS = torch.tensor(list(permutations(range(5), 3)))  # (60, 3)


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(scores, order):
    """The chain rule with plain softmaxes over the tokens left, (k,)."""
    left, steps = list(range(len(scores))), []
    for token in order:
        steps.append(scores[left].softmax(0)[left.index(token)].log())
        left.remove(token)
    return torch.stack(steps)


def test_the_probabilities_of_all_ordered_samples_sum_to_one():
    scores = random_scores(2, 5)
    steps = plackett_luce.step_log_probs(scores, ORDERS.expand(2, 60, 3))
    torch.testing.assert_close(steps.sum(-1).exp().sum(1), torch.ones(2, dtype=torch.float64))


def test_each_step_is_a_softmax_over_the_tokens_left():
    scores = random_scores(5)
    steps = plackett_luce.step_log_probs(scores[None], ORDERS[None])[0]
    torch.testing.assert_close(steps, torch.stack([by_hand(scores, order.tolist()) for order in ORDERS]))


def test_samples_follow_the_probabilities_of_their_orders():
    scores, draws = random_scores(1, 5), 6000
    drawn = plackett_luce.sample(scores, 3, draws, torch.Generator().manual_seed(0))[0]
    counts = (drawn[:, None] == ORDERS).all(-1).sum(0)
    expected = draws * plackett_luce.step_log_probs(scores, ORDERS[None])[0].sum(-1).exp()
    assert int(counts.sum()) == draws
    assert float(((counts - expected) ** 2 / expected).sum()) < 98.3  # 99.9 % quantile, 59 degrees of freedom


def test_no_token_is_sampled_twice():
    drawn = plackett_luce.sample(random_scores(3, 40), 25, 16, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 16, 25)
    ordered = drawn.sort(-1).values
    assert (ordered.diff(dim=-1) > 0).all()


def test_padding_is_never_sampled():
    scores = random_scores(1, 12)
    scores[:, 7:] = -torch.inf
    assert int(plackett_luce.sample(scores, 7, 300, torch.Generator().manual_seed(0)).max()) == 6


def test_padding_changes_no_probability():
    scores = random_scores(1, 5)
    wide = torch.cat([scores, torch.full((1, 3), -torch.inf, dtype=torch.float64)], dim=1)
    found, expected = (plackett_luce.step_log_probs(s, ORDERS[None]) for s in (wide, scores))
    torch.testing.assert_close(found, expected)


def test_the_same_seed_samples_the_same_orders():
    first, again, other = (
        plackett_luce.sample(random_scores(1, 40), 9, 4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_gradient_equals_finite_differences():
    scores, order, step = random_scores(1, 6).requires_grad_(), torch.tensor([[[4, 0, 2]]]), 1e-6
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (plackett_luce.step_log_probs(scores, order) * weight).sum().backward()
    nudge = step * torch.eye(6, dtype=torch.float64)
    up, down = (
        plackett_luce.step_log_probs(scores.detach() + sign * nudge, order.expand(6, 1, 3))[:, 0] @ weight
        for sign in (1, -1)
    )
    torch.testing.assert_close(scores.grad[0], (up - down) / (2 * step), atol=1e-7, rtol=0)


def test_sampling_every_token_has_a_certain_last_step_and_a_finite_gradient():
    scores = random_scores(1, 4).requires_grad_()
    steps = plackett_luce.step_log_probs(scores, torch.tensor([[[2, 0, 3, 1]]]))
    steps.sum().backward()
    assert steps[0, 0, -1].item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(steps).all()
    assert torch.isfinite(scores.grad).all()


def test_scores_that_differ_by_thousands_stay_finite():
    scores = 1e3 * random_scores(1, 50)
    order = plackett_luce.sample(scores, 20, 4, torch.Generator().manual_seed(0))
    scores.requires_grad_()
    steps = plackett_luce.step_log_probs(scores, order)
    steps.sum().backward()
    assert torch.isfinite(steps).all()
    assert torch.isfinite(scores.grad).all()
    assert (steps <= 1e-9).all()


def test_a_sample_longer_than_its_row_has_the_same_first_picks_and_a_finite_gradient():
    scores = random_scores(1, 5)
    wide = torch.cat([scores, torch.full((1, 3), -torch.inf, dtype=torch.float64)], dim=1).requires_grad_()
    order = plackett_luce.sample(wide, 7, 4, torch.Generator().manual_seed(0))
    steps = plackett_luce.step_log_probs(wide, order)
    torch.testing.assert_close(steps[..., :3], plackett_luce.step_log_probs(scores, order[..., :3]))
    steps[..., :3].sum().backward()
    assert torch.isfinite(wide.grad).all()
