"""Keep or drop: hard decisions with a soft gradient, and a loss on the number of kept tokens."""

import pytest
import torch

from grip_vlm.rivals.dynamicvit import RATIO, decide, ratio_loss
from grip_vlm.training import gates


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


def test_a_decision_is_hard_forward_and_has_the_gradient_of_the_sigmoid():
    logits = random_scores(3, 50).requires_grad_()
    kept = decide(logits, rng(1))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    kept.sum().backward()
    noisy = (logits + torch.logit(torch.rand(3, 50, generator=rng(1)))).sigmoid()
    assert torch.equal(kept > 0.5, noisy > 0.5)
    torch.testing.assert_close(logits.grad, (noisy * (1 - noisy)).detach())


def test_a_decision_keeps_with_the_probability_of_its_logit():
    logits = random_scores(1, 6)
    kept = decide(logits.expand(4000, 6), rng())
    torch.testing.assert_close(kept.mean(0), logits.sigmoid()[0], atol=0.03, rtol=0)


def test_the_ratio_loss_is_the_squared_miss_relative_to_the_budget():
    p = torch.tensor([[0.9, 0.9, 0.9, 0.3], [0.7, 0.1, 0.1, 0.1], [0.5, 0.5, 0.4, 0.6]])  # 3, 1 and 2 in the mean
    loss = ratio_loss(p.logit(), torch.tensor([2, 4, 2]))
    assert float(loss) == pytest.approx((0.5**2 + 0.75**2 + 0) / 3)


def test_the_ratio_loss_is_dynamic_llavas_at_a_fifth():
    """100 (mean - 0.2)^2 at 20 tokens of 100."""
    logits = torch.full((1, 100), 0.31).logit()
    assert RATIO * float(ratio_loss(logits, torch.tensor([20]))) == pytest.approx(100 * (0.31 - 0.2) ** 2)


def test_dropped_tokens_are_masked_and_the_gradient_reaches_them():
    kept = torch.tensor([[1.0, 0.0]], requires_grad=True)
    weight = (gates.bias_of(kept) + torch.tensor([[0.7, 0.7]])).exp()
    torch.testing.assert_close(weight, torch.tensor([[1.0, 1e-4]]) * torch.tensor(0.7).exp())
    weight.sum().backward()
    torch.testing.assert_close(kept.grad, torch.full((1, 2), 0.7).exp(), atol=0, rtol=1e-3)
