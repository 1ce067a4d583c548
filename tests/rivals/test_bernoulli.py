"""Independent keeps: probabilities and entropy by listing all masks, the budget in the mean, padding without effect."""

import pytest
import torch
from toolkit.masks import every_mask, random_scores, rng

from grip_vlm.rivals import bernoulli

PADDED = torch.tensor([[0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -torch.inf, -torch.inf]])


def test_the_log_probability_of_independent_keeps_is_the_product_worked_out_by_hand():
    logits = random_scores(1, 4)
    masks, p = every_mask(4), logits.sigmoid()
    expected = torch.where(masks, p, 1 - p).prod(1)
    found = bernoulli.log_prob(logits.expand(16, 4), masks).exp()
    torch.testing.assert_close(found, expected)
    assert float(found.sum()) == pytest.approx(1)


def test_the_entropy_of_independent_keeps_is_that_of_all_masks():
    logits = random_scores(1, 4)
    log_p = bernoulli.log_prob(logits.expand(16, 4), every_mask(4))
    torch.testing.assert_close(bernoulli.entropy(logits)[0], -(log_p.exp() * log_p).sum())


def test_scores_of_zero_keep_the_budget_in_the_mean():
    scores = torch.where(torch.isfinite(PADDED), 0.0, -torch.inf)
    kept = bernoulli.logits(scores, torch.tensor([3, 1])).sigmoid().sum(1)
    torch.testing.assert_close(kept, torch.tensor([3.0, 1.0]))


def test_a_budget_of_all_tokens_leaves_the_logits_finite():
    logits = bernoulli.logits(PADDED, torch.tensor([4, 2]))
    assert torch.isfinite(logits).all()
    assert (logits[:, :2] > PADDED[:, :2]).all()


def test_padding_is_never_kept_costs_nothing_and_has_no_gradient():
    scores = PADDED.clone().requires_grad_()
    k = torch.tensor([2, 1])
    logits = bernoulli.logits(scores, k)
    sampled = torch.stack([bernoulli.sample(logits, rng(seed)) for seed in range(50)])
    assert not sampled[:, 1, 2:].any()
    alone = bernoulli.logits(PADDED[1:, :2], k[1:])
    torch.testing.assert_close(
        bernoulli.log_prob(logits, sampled[0])[1:], bernoulli.log_prob(alone, sampled[0, 1:, :2])
    )
    torch.testing.assert_close(bernoulli.entropy(logits)[1:], bernoulli.entropy(alone))
    (bernoulli.log_prob(logits, sampled[0]) + bernoulli.entropy(logits)).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[1, 2:].any()


def test_tokens_are_kept_as_often_as_their_probability_says():
    logits = random_scores(1, 6)
    sampled = bernoulli.sample(logits.expand(4000, 6), rng())
    torch.testing.assert_close(sampled.float().mean(0), logits.sigmoid()[0], atol=0.03, rtol=0)
