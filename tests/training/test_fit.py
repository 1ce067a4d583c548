"""Forwards are split until they fit, and what they give does not depend on it."""

import pytest
import torch
from toolkit.training import fresh_scorer
from torch import nn

from grip_vlm import rivals
from grip_vlm.training.bank import Bank, build_bank
from grip_vlm.training.dev import DevSet
from grip_vlm.training.fit import Fit, with_gradient
from grip_vlm.training.gates import Step, gated_log_likelihood
from grip_vlm.training.rewards import group_reward
from grip_vlm.training.warmup import all_answer_attention

GPU = "CUDA out of memory. Tried to allocate 2.00 GiB."
CPU = "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


class Room:
    """A forward that has room for so many rows; remembers how many rows it got."""

    def __init__(self, room, error):
        self.room, self.error, self.sizes = room, error, []

    def __call__(self, rows):
        self.sizes.append(len(rows))
        if len(rows) > self.room:
            raise self.error
        return rows * 2


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples[:5])


def with_size(bank, size):
    """The same bank with forwards of at most `size` rows."""
    return Bank(bank.vlm, bank.entries, fit=Fit(size))


# ---- halving ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(GPU), RuntimeError(CPU), MemoryError()], ids=["gpu", "cpu", "python"]
)
def test_a_forward_that_does_not_fit_is_halved_and_said_so(error):
    said, forward = [], Room(3, error)
    found = torch.cat(Fit(say=said.append).parts(torch.arange(10), 8, forward))
    assert found.tolist() == [2 * row for row in range(10)]
    assert forward.sizes == [8, 4, 2, 2, 2, 2, 2]
    assert said[0] == "out of memory with 8 prompts in a forward; going on with 4 (--micro-batch)"
    assert len(said) == 2


@pytest.mark.slow
def test_one_row_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Fit().parts(torch.arange(4), 4, Room(0, torch.OutOfMemoryError(GPU)))


def test_another_error_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        Fit().parts(torch.arange(4), 4, Room(0, RuntimeError("shapes do not match")))


def test_without_a_limit_forwards_are_as_large_as_asked():
    forward = Room(100, None)
    Fit().parts(torch.arange(10), 8, forward)
    assert forward.sizes == [8, 2]


@pytest.mark.slow
def test_a_step_that_does_not_fit_is_tried_again_with_half_the_size():
    fit, sizes = Fit(), []

    def attempt():
        sizes.append(fit.size)
        if fit.size != 2:
            raise torch.OutOfMemoryError(GPU)
        return "done"

    assert fit.again(attempt, 8) == "done"
    assert sizes == [0, 4, 2]


# ---- the same results ------------------------------------------------------------------------------------------------


def test_gradients_through_parts_are_those_of_the_whole():
    torch.manual_seed(0)
    net, one, two = nn.Linear(3, 1), torch.randn(5, 3, requires_grad=True), torch.randn(5, 2, 3, requires_grad=True)
    weight = torch.randn(5)

    def forward(rows, leaves):
        return net(leaves[0])[:, 0].sin() * leaves[1].sum((1, 2))

    found = {}
    for size in (0, 2):
        values = with_gradient(Fit(size), (one, two), forward)
        found[size] = [values.detach(), *torch.autograd.grad((values * weight).sum(), (one, two))]
    for whole, parts in zip(*found.values(), strict=True):
        torch.testing.assert_close(parts, whole)


def test_a_gated_answer_and_its_gradient_do_not_depend_on_the_micro_batch(vlm, bank):
    found = {}
    for size in (0, 2):
        batch = with_size(bank, size).batch(range(5))
        gate = torch.full(batch.encoded.state.visual_mask.shape, -0.5, requires_grad=True)
        likelihood = gated_log_likelihood(vlm, batch, gate)
        found[size] = [likelihood.detach(), torch.autograd.grad(-likelihood.mean(), gate)[0]]
    assert found[0][1].abs().max() > 0
    for whole, parts in zip(*found.values(), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_rewards_attention_and_dev_scores_do_not_depend_on_the_micro_batch(vlm, bank):
    found = {}
    for size in (0, 2):
        own = with_size(bank, size)
        batch = own.batch(range(5))
        masks = torch.rand(5, 3, batch.encoded.state.visual_mask.shape[1], generator=torch.manual_seed(0)) < 0.2
        reward, exact = group_reward(vlm, batch, masks, exact_only=False)
        attention = torch.cat(all_answer_attention(vlm, own, 5, 5))
        found[size] = [reward, exact, attention, torch.tensor(DevSet(own)(fresh_scorer(vlm), [0.1]))]
    for whole, parts in zip(*found.values(), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


class Small:
    """A device on which the language model has room for two prompts."""

    def __call__(self, module, inputs, given):
        if len(given["input_ids"]) > 2:
            raise torch.OutOfMemoryError(GPU)


@pytest.mark.slow
def test_a_model_with_room_for_two_prompts_gives_what_it_gives_with_more_room(vlm, bank):
    """The language model itself refuses larger forwards, in every use that training makes of it."""
    said = []
    whole, own = bank.batch(range(5)), with_size(bank, 0)
    own.fit.say = said.append
    masks = torch.rand(5, 3, whole.encoded.state.visual_mask.shape[1], generator=torch.manual_seed(0)) < 0.2
    expected = group_reward(vlm, whole, masks, exact_only=False)[0]
    attention = torch.cat(all_answer_attention(vlm, bank, 5, 5))
    hook = vlm.model.register_forward_pre_hook(Small(), with_kwargs=True)
    try:
        torch.testing.assert_close(
            group_reward(vlm, own.batch(range(5)), masks, False)[0], expected, atol=1e-6, rtol=1e-4
        )
        own.fit.size = 0
        torch.testing.assert_close(torch.cat(all_answer_attention(vlm, own, 5, 5)), attention, atol=1e-6, rtol=1e-4)
    finally:
        hook.remove()
    assert "out of memory with 15 prompts in a forward; going on with 7 (--micro-batch)" in said
    assert own.fit.size <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soft_topk", "st_gumbel", "dynamicvit", "noise_gate"])
def test_a_relaxation_and_its_gradient_do_not_depend_on_the_micro_batch(name, vlm, bank):
    relax, found = rivals.load(name).relaxation(vlm, 0), {}
    for size in (0, 2):
        batch = with_size(bank, size).batch(range(5))
        state = batch.encoded.state
        scores = torch.randn(state.visual_mask.shape, generator=torch.manual_seed(0))
        scores = scores.masked_fill(~state.visual_mask, -torch.inf).requires_grad_()
        k = torch.full((5,), 20)
        step = Step(vlm, batch, scores, k, 0.5, relax.auxiliary, torch.Generator().manual_seed(1))
        loss = relax.loss(step)
        found[size] = [loss.detach(), torch.autograd.grad(loss, scores)[0]]
    assert found[0][1].abs().max() > 0
    for whole, parts in zip(*found.values(), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-3)
