"""Imitation losses: gradients worked out by hand, for the warm-up and for attention distillation."""

import torch

from grip_vlm.rivals.attention_distill import distribution_imitation
from grip_vlm.training.warmup import subset_imitation

SCORES = torch.tensor([[0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -torch.inf, -torch.inf]])
TEACHER = torch.tensor([[0.5, -0.1, 0.2, 0.3], [0.1, 0.6, 0.0, 0.0]])


def gradient(imitation, k):
    scores = SCORES.clone().requires_grad_()
    imitation(scores, torch.tensor(k), TEACHER).backward()
    return scores.grad


def test_attention_distillation_pulls_the_softmax_to_the_teacher_whatever_the_budget():
    share = torch.tensor([[0.5, 0, 0.2, 0.3], [1 / 7, 6 / 7, 0, 0]])
    expected = (SCORES.softmax(1) - share) / 2
    torch.testing.assert_close(gradient(distribution_imitation, [2, 1]), expected, atol=1e-5, rtol=0)
    assert torch.equal(gradient(distribution_imitation, [1, 2]), gradient(distribution_imitation, [2, 1]))


def test_the_warm_ups_imitation_is_likelihood_and_distribution_together():
    # The distribution over subsets of one token is a softmax.
    likelihood = (SCORES.softmax(1) - torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])) / 2
    expected = likelihood + gradient(distribution_imitation, [1, 1])
    torch.testing.assert_close(gradient(subset_imitation, [1, 1]), expected, atol=1e-5, rtol=0)
