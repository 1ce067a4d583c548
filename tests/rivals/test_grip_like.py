"""Textbook GRPO: the penalty on leaving the warm-up."""

import torch

from grip_vlm.rivals.grip_like import kl_estimate


def test_the_penalty_is_the_divergence_in_the_mean_over_samples():
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.4, 0.4, 0.2])
    torch.testing.assert_close(p @ kl_estimate((q / p).log()), p @ (p / q).log())
