"""Gates on attention: open gates are the unpruned model, closed gates are removed tokens, and gradients reach all."""

import pytest
import torch

from grip_vlm.training.bank import build_bank
from grip_vlm.training.gates import gated_log_likelihood
from grip_vlm.training.rewards import teacher_forced


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples)


def test_open_gates_are_the_unpruned_model(vlm, bank):
    batch = bank.batch(range(4))
    plain = teacher_forced(vlm, batch, batch.encoded.state.visual_mask).log_likelihood
    gated = gated_log_likelihood(vlm, batch, torch.zeros(4, 196))
    torch.testing.assert_close(gated, plain, atol=1e-4, rtol=1e-4)


def test_closed_gates_are_removed_tokens(vlm, bank):
    batch = bank.batch(range(4))
    mask = torch.rand(4, 196, generator=torch.Generator().manual_seed(1)) < 0.2
    removed = teacher_forced(vlm, batch, mask).log_likelihood
    gated = gated_log_likelihood(vlm, batch, torch.where(mask, 0.0, -1e4))
    torch.testing.assert_close(gated, removed, atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_gate(vlm, bank):
    batch = bank.batch(range(2))
    gate = torch.full((2, 196), -0.7, requires_grad=True)
    gated_log_likelihood(vlm, batch, gate).sum().backward()
    assert (gate.grad != 0).float().mean() > 0.95
