"""The teacher is the answer's attention in the VLM's own maps, and a gate scales exactly that attention."""

import math

import pytest
import torch

from grip_vlm import vlms
from grip_vlm.training.bank import build_bank
from grip_vlm.training.warmup import all_answer_attention, answer_attention, minus_batch_mean
from grip_vlm.vlms.attention import attention_implementation, gated_attention


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples)


@pytest.fixture(scope="module")
def shipped():
    """A random VLM attends to everything alike."""
    return vlms.load("tiny-llava", device="cpu")


@pytest.fixture(scope="module")
def example(examples):
    """One whose answer is several tokens long."""
    return next(e for e in examples if e.benchmark == "reading")


@pytest.fixture(scope="module")
def inputs(shipped, example):
    return shipped.inputs([example.image], [example.question], list(example.answers[:1]))


@pytest.fixture(scope="module")
def maps(shipped, inputs):
    """(layers, heads, L, L)"""
    with torch.no_grad(), attention_implementation(shipped.model, "eager"):
        given = {name: value for name, value in inputs.items() if name != "answer_length"}
        return torch.cat(shipped.model(**given, output_attentions=True, use_cache=False).attentions)


def test_answer_attention_is_the_mean_attention_of_the_places_that_predict_the_answer(shipped, example, inputs, maps):
    length, answer = maps.shape[-1], int(inputs["answer_length"][0])
    visual = inputs["input_ids"][0] == shipped.model.config.image_token_id
    assert answer > 1
    expected = torch.stack(
        [
            maps[layer, head, at, visual]
            for layer in range(4)
            for head in range(4)
            for at in range(length - 1 - answer, length - 1)
        ]
    ).mean(0)
    [found] = answer_attention(shipped, build_bank(shipped, [example]).batch([0]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-2)  # features of a bank are in half precision


def test_the_teacher_is_zero_in_the_mean_over_a_batch(vlm, bank):
    batch = bank.batch(range(4))
    teacher = minus_batch_mean(answer_attention(vlm, batch), batch.encoded.state.visual_mask)
    assert torch.isfinite(teacher).all()
    torch.testing.assert_close(teacher.sum(0), torch.zeros(196), atol=1e-6, rtol=0)


def test_the_attention_of_a_batch_of_one_is_not_taken_from_itself(vlm, bank):
    batch = bank.batch([0])
    [attention] = answer_attention(vlm, batch)
    assert (attention > 0).all()
    assert torch.equal(minus_batch_mean([attention], batch.encoded.state.visual_mask)[0], attention)


def test_the_attention_of_many_examples_is_that_of_single_ones(vlm, bank):
    attention = all_answer_attention(vlm, bank, 5, size=2)
    assert len(attention) == 5
    for i, received in enumerate(attention):
        torch.testing.assert_close(received, answer_attention(vlm, bank.batch([i]))[0], atol=1e-5, rtol=1e-4)


def test_the_mean_of_the_other_samples_at_the_same_place_is_taken_off():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    attention = [torch.tensor([4.0, 1, 1, 2]), torch.tensor([2.0, 3, 5]), torch.tensor([0.0, 6])]
    # Others' means: (2 + 0) / 2, (3 + 6) / 2, 5 and nobody; (4 + 0) / 2, (1 + 6) / 2 and 1; (4 + 2) / 2, (1 + 3) / 2.
    expected = torch.tensor([[3, -3.5, -4, 2], [0, -0.5, 4, 0], [-3, 4, 0, 0]])
    assert torch.equal(minus_batch_mean(attention, mask), expected)


@torch.no_grad()
def test_a_gate_of_one_half_halves_a_keys_attention_before_it_is_normalised(shipped, inputs, maps):
    given = {name: value for name, value in inputs.items() if name != "answer_length"}
    column = int((given["input_ids"][0] == shipped.model.config.image_token_id).nonzero()[100])
    bias = torch.zeros(given["input_ids"].shape)
    bias[0, column] = math.log(0.5)
    attention, heard = shipped.model.base_model.get_decoder().layers[0].self_attn, {}
    hooks = [
        attention.v_proj.register_forward_hook(lambda _, args, out: heard.update(values=out[0])),
        attention.o_proj.register_forward_pre_hook(lambda _, args: heard.update(mixed=args[0][0])),
    ]
    with gated_attention(shipped.model, bias):
        shipped.model(**given, use_cache=False)
    for hook in hooks:
        hook.remove()
    w = maps[0]  # (H, L, L)
    assert w[:, column:, column].max() > 0.02
    gated = w / (1 - 0.5 * w[..., column, None])
    gated[..., column] = 0.5 * w[..., column] / (1 - 0.5 * w[..., column])
    values = heard["values"].unflatten(-1, (4, -1)).transpose(0, 1)  # (H, L, d)
    torch.testing.assert_close(heard["mixed"], (gated @ values).transpose(0, 1).flatten(1), atol=1e-5, rtol=1e-4)
