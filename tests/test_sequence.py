"""The pruned sequence is right whatever the shapes: random prompts through the functions that collate and prune.

Every token of a random prompt has an id of its own, and the feature of a visual token is the id of its placeholder, so
that whatever is lost, moved or mixed up shows.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlavaConfig

from grip_vlm.mdp import Action
from grip_vlm.sequence import Sample, collate, follow_up, prune_sequence
from grip_vlm.vlms.encode import Encoder

PAD = -7
CONFIG = LlavaConfig()
calm = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # for busy machines
many = settings(calm, max_examples=50)

# ---- random prompts --------------------------------------------------------------------------------------------------


@st.composite
def samples(draw, first, spatial, layers):
    """A sample whose ids count from `first`: up to three images, each behind a piece of text, and text at the end."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=3))
    visual = [v for text, size in pieces for v in [False] * text + [True] * size]
    visual = torch.tensor(visual + [False] * draw(st.integers(1, 4)))
    length, n = len(visual), int(visual.sum())
    ids = first + torch.arange(length)
    gaps = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=length, max_size=length)))
    slots = visual.nonzero()[:, 0]
    position = gaps.cumsum(0)
    return Sample(
        input_ids=ids,
        position_ids=torch.stack([position, position * 2, position + 5]) if spatial else position,
        extras={"labels": ids + 500, "token_type_ids": visual.long()},
        slots=slots,
        visual=ids[slots, None].float().expand(n, 2),
        deepstack=tuple(ids[slots, None].float() + 0.25 * (i + 1) for i in range(layers)),
        is_video=torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=torch.bool),
        places=torch.zeros(n, 2),
        image=torch.zeros(n, dtype=torch.long),
    )


@st.composite
def batches(draw):
    """One to four samples, alike in what they carry."""
    spatial, layers = draw(st.booleans()), draw(st.integers(0, 2))
    return [draw(samples(1000 * (i + 1), spatial, layers)) for i in range(draw(st.integers(1, 4)))]


@st.composite
def prunings(draw):
    """Samples, their prompt with some columns of padding too many, which prompt each row prunes, and its mask."""
    batch = draw(batches())
    prompt = padded(collate(batch, PAD), draw(st.integers(0, 2)))
    rows = draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=5))
    keep = [draw(st.lists(st.booleans(), min_size=(n := prompt.slots.shape[1]), max_size=n)) for _ in rows]
    return batch, prompt, torch.tensor(rows), torch.tensor(keep, dtype=torch.bool).view(len(rows), n)


def padded(prompt, by):
    """The same with `by` more columns of padding in front."""

    def more(values, fill=0):
        return torch.nn.functional.pad(values, (by, 0), value=fill)

    return replace(
        prompt,
        input_ids=more(prompt.input_ids, PAD),
        attention_mask=more(prompt.attention_mask),
        position_ids=more(prompt.position_ids),
        slots=torch.where(prompt.slots >= 0, prompt.slots + by, -1),
        extras={name: more(values) for name, values in prompt.extras.items()},
    )


def survivors(sample, keep):
    """Which tokens of a sample are left, (L,) bool."""
    left = torch.ones(len(sample.input_ids), dtype=torch.bool)
    left[sample.slots] = keep[: len(sample.slots)]
    return left


def each(case):
    """(row, its sample, which of its tokens are left) of every pruned row."""
    batch, _, rows, keep = case
    return [(i, batch[row], survivors(batch[row], keep[i])) for i, row in enumerate(rows.tolist())]


def pruned_rows(case, **how):
    """The pruned inputs, and which of their tokens are no padding, (R, L')."""
    _, prompt, rows, keep = case
    inputs = prune_sequence(prompt, Action(keep), rows, **how).inputs
    return inputs, inputs["attention_mask"].bool()


def model_inputs(case):
    """What an encoder makes for a model; nothing but its two configurations is used."""
    model = SimpleNamespace(
        forward=lambda mm_encoder_outputs: None, config=CONFIG, generation_config=GenerationConfig()
    )
    encoder = Encoder(model)
    _, prompt, rows, keep = case
    return encoder.pruned(prompt, Action(keep), rows)


# ---- the pruned sequence ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@many
@given(prunings())
def test_nothing_but_dropped_placeholders_is_lost_and_the_order_stays(case):
    inputs, valid = pruned_rows(case)
    for i, sample, left in each(case):
        assert inputs["input_ids"][i, valid[i]].tolist() == sample.input_ids[left].tolist()


@many
@given(prunings())
def test_rows_are_as_long_as_what_is_left_and_padded_on_the_left(case):
    inputs, valid = pruned_rows(case)
    lengths = [int(left.sum()) for _, _, left in each(case)]
    assert inputs["input_ids"].shape == (len(lengths), max(lengths))
    assert valid.sum(1).tolist() == lengths
    assert (valid.int().diff(dim=1) >= 0).all()
    assert (inputs["input_ids"][~valid] == PAD).all()
    assert (inputs["labels"][~valid] == -100).all()


@many
@given(prunings())
def test_what_the_model_reads_per_token_goes_with_the_token(case):
    inputs, valid = pruned_rows(case)
    for i, sample, left in each(case):
        for name, values in sample.extras.items():
            assert inputs[name][i, valid[i]].tolist() == values[left].tolist()


@many
@given(prunings())
def test_positions_are_those_in_the_full_sequence(case):
    inputs, valid = pruned_rows(case)
    for i, sample, left in each(case):
        found = inputs["position_ids"][..., i, valid[i]]
        if sample.position_ids.ndim == 2:  # row 0 counts what is left
            assert found[0].tolist() == list(range(int(left.sum())))
            found = found[1:]
        assert torch.equal(found, sample.position_ids[..., left])


@many
@given(prunings())
def test_compact_positions_count_what_is_left(case):
    inputs, valid = pruned_rows(case, positions="compact")
    spatial = case[0][0].position_ids.ndim == 2
    assert inputs["position_ids"].shape == ((4, *valid.shape) if spatial else valid.shape)
    for i, _, left in each(case):
        found = inputs["position_ids"][..., i, valid[i]]
        assert torch.equal(found, torch.arange(int(left.sum())).expand_as(found))


@many
@given(prunings())
def test_features_follow_their_placeholders_in_every_layer(case):
    # A model scatters features to placeholders in reading order, images apart from videos.
    outputs = model_inputs(case)["mm_encoder_outputs"]
    for modality, is_video in (("image", False), ("video", True)):
        placeholders = [
            sample.input_ids[sample.slots][(sample.is_video == is_video) & left[sample.slots]].tolist()
            for _, sample, left in each(case)
        ]
        if modality not in outputs:
            assert not any(sample.is_video.any() for sample in case[0])
            continue
        output = outputs[modality]
        assert [entry[:, 0].tolist() for entry in output.pooler_output] == placeholders
        for i, layer in enumerate(output.deepstack_features or ()):
            assert [(entry[:, 0] - 0.25 * (i + 1)).tolist() for entry in layer] == placeholders
        assert len(output.deepstack_features or ()) == len(case[0][0].deepstack)


@many
@given(prunings())
def test_a_group_that_shares_a_prompt_equals_repeated_prompts(case):
    batch, prompt, rows, keep = case
    shared = prune_sequence(prompt, Action(keep), rows)
    repeated = collate([batch[row] for row in rows.tolist()], PAD)
    width = repeated.slots.shape[1]  # the longest prompt may have no row
    alone = prune_sequence(repeated, Action(keep[:, :width]))
    assert shared.inputs.keys() == alone.inputs.keys()
    assert all(torch.equal(shared.inputs[name], alone.inputs[name]) for name in shared.inputs)
    assert torch.equal(shared.mask[:, :width], alone.mask)
    assert torch.equal(shared.visual[shared.mask], alone.visual[alone.mask])


@many
@given(prunings())
def test_features_of_the_action_go_with_its_rows(case):
    _, prompt, rows, keep = case
    own = torch.arange(float(keep.numel())).view(*keep.shape, 1)  # (R, N, 1)
    kept = prune_sequence(prompt, Action(keep, own), rows)
    assert torch.equal(kept.visual, own)


@many
@given(batches())
def test_keeping_all_of_a_collated_batch_is_the_batch(batch):
    prompt = collate(batch, PAD)
    kept = prune_sequence(prompt, Action(prompt.slots >= 0))
    expected = {"input_ids": prompt.input_ids, "attention_mask": prompt.attention_mask, **prompt.extras}
    assert all(torch.equal(kept.inputs[name], values) for name, values in expected.items())
    assert torch.equal(kept.inputs["position_ids"][-3:], prompt.position_ids[-3:])
    assert torch.equal(kept.visual, prompt.visual)


@many
@given(batches())
def test_a_collated_batch_holds_every_sample_as_it_was(batch):
    prompt = collate(batch, PAD)
    for i, sample in enumerate(batch):
        real, n = prompt.attention_mask[i].bool(), len(sample.slots)
        assert torch.equal(prompt.input_ids[i, real], sample.input_ids)
        assert torch.equal(prompt.position_ids[..., i, real], sample.position_ids)
        assert torch.equal(prompt.input_ids[i, prompt.slots[i, :n]], sample.input_ids[sample.slots])
        assert (prompt.slots[i, n:] == -1).all()
        assert torch.equal(prompt.visual[i, :n], sample.visual)
        layers = zip(prompt.deepstack, sample.deepstack, strict=True)
        assert all(torch.equal(layer[i, :n], own) for layer, own in layers)
        assert (prompt.is_video is None) or torch.equal(prompt.is_video[i, :n], sample.is_video)


@many
@given(prunings(), st.integers(0, 4), st.integers(0, 3))
def test_the_next_turn_goes_on_from_the_last_position(case, answered, asked):
    inputs, valid = pruned_rows(case)
    rows, length = valid.shape
    answer = 5000 + torch.arange(rows * answered).view(rows, answered)
    turn = 7000 + torch.arange(rows * asked).view(rows, asked)
    longer = follow_up(inputs, torch.cat([inputs["input_ids"], answer], dim=1), turn)
    assert torch.equal(longer["input_ids"], torch.cat([inputs["input_ids"], answer, turn], dim=1))
    assert torch.equal(longer["attention_mask"][:, :length], inputs["attention_mask"])
    assert (longer["attention_mask"][:, length:] == 1).all()
    assert torch.equal(longer["position_ids"][..., :length], inputs["position_ids"])
    for i, sample, left in each(case):
        # Text alone follows, so that rows and columns go on from the furthest of them.
        furthest = int(sample.position_ids[..., left].max())
        steps = torch.arange(1, answered + asked + 1)
        found = longer["position_ids"][..., i, length:]
        if sample.position_ids.ndim == 2:
            assert torch.equal(found[0], int(left.sum()) - 1 + steps)
            found = found[1:]
        assert torch.equal(found, (furthest + steps).expand_as(found))
