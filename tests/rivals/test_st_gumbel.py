"""Straight-through gates: exactly k are open, and the gradient is that of the soft gates."""

import torch

from grip_vlm.rivals.st_gumbel import straight_through_gate


def test_straight_through_gates_are_hard_forward_and_soft_backward():
    scores = torch.randn(2, 30, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gate = straight_through_gate(scores, torch.tensor([5, 9]), torch.Generator().manual_seed(1), 1.0)
    assert (gate.exp() > 0.5).sum(1).tolist() == [5, 9]
    gate.exp().pow(2).sum().backward()
    assert (scores.grad.abs() > 0).sum() > 40
