"""Noise gates: what a gate lets through, and a loss that closed tokens do not enter."""

from dataclasses import replace

import pytest
import tiny
import torch

from grip_vlm import vlms
from grip_vlm.benchmarks import Example
from grip_vlm.rivals.noise_gate import Denoiser, noise_gate_loss, throttle
from grip_vlm.training.bank import build_bank
from grip_vlm.training.gates import Step
from grip_vlm.training.rewards import teacher_forced


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


MASK = torch.ones(2, 500, dtype=torch.bool)
FEATURES = 3 + 2 * random_scores(2, 500, 4, seed=3)


def test_a_gate_of_one_is_the_clean_token():
    torch.testing.assert_close(throttle(FEATURES, MASK, torch.ones(2, 500), rng()), FEATURES, atol=1e-4, rtol=0)


def test_a_gate_of_zero_is_pure_noise():
    """Other tokens with the same mean and deviation give the same noise."""
    shuffled = FEATURES.flatten(0, 1)[torch.randperm(1000, generator=rng())].view_as(FEATURES)
    one, two = (throttle(features, MASK, torch.zeros(2, 500), rng(5)) for features in (FEATURES, shuffled))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_noise_keeps_mean_and_deviation_and_leaves_the_root_of_the_gate_of_the_signal(gate):
    noisy = throttle(FEATURES, MASK, torch.full((2, 500), gate), rng(5)).flatten(0, 1)
    clean = FEATURES.flatten(0, 1)
    torch.testing.assert_close(noisy.mean(0), clean.mean(0), atol=0.25, rtol=0)
    torch.testing.assert_close(noisy.std(0), clean.std(0), atol=0.15, rtol=0)
    z, e = (clean - clean.mean(0)) / clean.std(0), (noisy - noisy.mean(0)) / noisy.std(0)
    torch.testing.assert_close((z * e).mean(0), torch.full((4,), gate**0.5), atol=0.08, rtol=0)


def test_padding_does_not_enter_mean_and_deviation():
    mask = MASK.clone()
    mask[1, 100:] = False
    spoiled = FEATURES.masked_fill(~mask[..., None], 1e6)
    gate = torch.full((2, 500), 0.5)
    one, two = (throttle(features, mask, gate, rng())[mask] for features in (FEATURES, spoiled))
    assert torch.equal(one, two)


def test_the_denoiser_is_silent_at_first_and_always_for_open_gates():
    denoiser, noisy = Denoiser(4), random_scores(2, 5, 4)
    gate = torch.tensor([0.0, 0.3, 0.9, 1.0, 1.0]).expand(2, 5)
    assert torch.equal(denoiser(noisy, gate), noisy)
    torch.nn.init.normal_(denoiser.outer.weight, generator=rng())
    moved = (denoiser(noisy, gate) != noisy).any(-1)
    assert moved.tolist() == [[True, True, True, False, False]] * 2


@pytest.fixture(scope="module", params=["llava", "qwen3_vl"])
def small(request):
    """(vlm, batch of two) of a tiny family; the second gets features in early layers too."""
    family = tiny.load(request.param)
    vlm = vlms.wrap(family.model, family.processor)
    examples = [Example(str(i), image, "how many ?", ("yes",), "exact") for i, image in enumerate(family.images(2))]
    return vlm, build_bank(vlm, examples).batch([0, 1])


def loss_at(vlm, batch, scores, k):
    return noise_gate_loss(Step(vlm, batch, scores, k, 0.0, Denoiser(vlm.dim), rng()))


def test_open_gates_are_the_clean_model(small):
    vlm, batch = small
    mask = batch.encoded.state.visual_mask
    scores, whole = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf), batch.encoded.state.counts
    found = loss_at(vlm, batch, scores, whole)
    plain = -teacher_forced(vlm, batch, mask).log_likelihood.mean()
    torch.testing.assert_close(found, plain, atol=1e-3, rtol=0)


def test_the_loss_does_not_depend_on_what_closed_tokens_show(small):
    """Closed tokens change places, which leaves mean and deviation as they are."""
    vlm, batch = small
    prompt, mask = batch.encoded.prompt, batch.encoded.state.visual_mask
    scores = torch.full(mask.shape, -40.0).masked_fill(~mask, -torch.inf)
    scores[:, 0] = 40.0
    order = torch.tensor([0, 3, 2, 1, *range(4, mask.shape[1])])
    deepstack = tuple(layer[:, order] for layer in prompt.deepstack)
    other = replace(batch.encoded, prompt=replace(prompt, visual=prompt.visual[:, order], deepstack=deepstack))
    assert len(prompt.deepstack) == (2 if vlm.model.config.model_type == "qwen3_vl" else 0)
    both = [replace(batch, encoded=encoded) for encoded in (batch.encoded, other)]
    one, two = (loss_at(vlm, b, scores, torch.tensor([1, 1])) for b in both)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    one, two = (loss_at(vlm, b, scores, batch.encoded.state.counts) for b in both)
    assert (one - two).abs() > 1e-5  # with open gates it does


def test_every_gate_and_the_denoiser_get_a_gradient(small):
    vlm, batch = small
    mask = batch.encoded.state.visual_mask
    scores = random_scores(*mask.shape).masked_fill(~mask, -torch.inf).requires_grad_()
    denoiser = Denoiser(vlm.dim)
    noise_gate_loss(Step(vlm, batch, scores, torch.tensor([3, 3]), 0.0, denoiser, rng())).backward()
    assert (scores.grad[mask] != 0).all()
    assert denoiser.outer.weight.grad.any()
