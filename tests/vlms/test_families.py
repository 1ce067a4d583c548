"""The contract of every VLM family, on tiny random models of the true transformers classes: pruning is exact."""

from types import SimpleNamespace

import pytest
import torch
from toolkit.families import (
    CLOSE,
    LONG,
    NAMES,
    QUESTION,
    RANDOM,
    batch_of,
    calm,
    full_positions,
    left_on,
    load,
    longer_types,
)

from grip_vlm import vlms
from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.mdp import Action
from grip_vlm.sequence import follow_up
from grip_vlm.training.bank import build_bank
from grip_vlm.training.rewards import teacher_forced

VIDEO = [name for name in NAMES if load(name).video]
# Where a removed token is by design not a masked one: docs/exactness.md.
RECURRENT = {"qwen3_5_hybrid"}
ASKED = ("what is in the image ?", "is there a cat ?", "how many ?"), ("red circle", "yes", "one two three")


@pytest.fixture(params=NAMES)
def family(request):
    return load(request.param)


def valid_logits(model, inputs):
    logits, mask = model(**inputs).logits, inputs.get("attention_mask")
    return logits[mask.bool()] if mask is not None else logits.flatten(0, 1)


def masked_logits(vlm, inputs, pruned_mask, slots):
    """Last logits of the whole sequence when the keys of dropped tokens are masked."""
    mask = inputs["attention_mask"].clone()
    for row, (kept, where) in enumerate(zip(pruned_mask, slots, strict=True)):
        mask[row, where[~kept & (where >= 0)]] = 0
    given = {**inputs, "attention_mask": mask, "position_ids": full_positions(vlm, inputs)}
    return vlm.model(**given, use_cache=False).logits[:, -1]


def some(state, share, seed=0):
    """A random share of every row's tokens, at least one."""
    draw = torch.rand(state.visual_mask.shape, generator=torch.Generator().manual_seed(seed))
    draw = draw.masked_fill(~state.visual_mask, -1)
    keep = (state.counts * share).ceil()[:, None]
    return draw.argsort(1, descending=True).argsort(1) < keep


# ---- 1. keep-all is the unpruned model -------------------------------------------------------------------------------


@torch.no_grad()
def test_keeping_all_gives_bit_identical_logits(family):
    _, (several, single) = batch_of(family)
    for inputs in (several, single):
        pruned = RANDOM.prune(family.model, inputs, 1.0, forward=True)
        assert torch.equal(family.model(**pruned).logits, family.model(**inputs).logits)


@torch.no_grad()
def test_keeping_all_of_a_padded_batch_gives_bit_identical_logits(family):
    inputs, _ = batch_of(family)
    inputs = {**inputs, "position_ids": full_positions(vlms.wrap(family.model), inputs)}
    expected = valid_logits(family.model, inputs)
    inputs.pop("position_ids")
    pruned = RANDOM.prune(family.model, inputs, 1.0, forward=True)
    assert torch.equal(valid_logits(family.model, pruned), expected)


@pytest.mark.parametrize("how", [{}, {"do_sample": True}, {"num_beams": 3}], ids=["greedy", "sampling", "beams"])
def test_keeping_all_generates_identically(family, how):
    first, second = (family.images(1), LONG), (family.images(2)[1:], QUESTION)
    inputs = family.inputs([first, second])
    outs = []
    for kwargs in (dict(inputs), RANDOM.prune(family.model, inputs, 1.0)):
        torch.manual_seed(3)
        outs.append(family.model.generate(**kwargs, **calm(family, **how)))
    assert torch.equal(*outs)


# ---- 2. tokens are really gone ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_decoder_layers_and_cache_have_the_pruned_length(family):
    _, (inputs, _) = batch_of(family)
    encoded = vlms.wrap(family.model).encode(inputs)
    total = int(encoded.state.counts[0])
    expected = inputs["input_ids"].shape[1] - total + 5
    lengths = []
    layers = family.model.base_model.get_decoder().layers
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: lengths.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
            with_kwargs=True,
        )
        for layer in layers
    ]
    out = family.model(**RANDOM.prune(family.model, inputs, 5, forward=True), use_cache=True)
    for hook in hooks:
        hook.remove()
    assert lengths == [expected] * len(layers)
    assert out.past_key_values.get_seq_length() == expected


# ---- 3. removed equals masked ----------------------------------------------------------------------------------------


@torch.no_grad()
def test_removed_equals_masked(family):
    if family.name in RECURRENT:
        pytest.skip("a masked token still passes a recurrent layer's state; see docs/exactness.md")
    vlm = vlms.wrap(family.model)
    inputs, _ = batch_of(family)
    encoded = vlm.encode(inputs)
    action = Action(some(encoded.state, 0.3))
    expected = masked_logits(vlm, inputs, action.mask, encoded.prompt.slots)
    found = family.model(**vlm.pruned(encoded.prompt, action), use_cache=False).logits[:, -1]
    torch.testing.assert_close(found, expected, **CLOSE)


@torch.no_grad()
def test_the_comparison_would_notice_compact_positions_and_no_pruning(family):
    vlm = vlms.wrap(family.model)
    inputs, _ = batch_of(family)
    encoded = vlm.encode(inputs)
    action = Action(some(encoded.state, 0.3))
    right = family.model(**vlm.pruned(encoded.prompt, action), use_cache=False).logits[:, -1]
    compact = family.model(**vlm.pruned(encoded.prompt, action, positions="compact"), use_cache=False).logits[:, -1]
    whole = family.model(**vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask))).logits[:, -1]
    assert (compact - right).abs().max() > 1e-2
    assert (whole - right).abs().max() > 1e-2


# ---- 4. generation is recomputation ----------------------------------------------------------------------------------


@torch.no_grad()
def test_generation_equals_recomputing_every_step_without_a_cache(family):
    inputs, _ = batch_of(family)
    how = calm(family, return_dict_in_generate=True, output_logits=True)
    out = family.model.generate(**RANDOM.prune(family.model, inputs, 0.3), **how)
    pruned = RANDOM.prune(family.model, inputs, 0.3)
    none = torch.zeros(2, 0, dtype=torch.long)
    longer = follow_up(pruned, out.sequences, none)
    longer["position_ids"] = longer["position_ids"] + vlms.wrap(family.model).forward_offset
    longer |= longer_types(pruned, out.sequences)
    logits = family.model(**longer, mm_encoder_outputs=pruned["mm_encoder_outputs"], use_cache=False).logits
    steps = torch.stack(out.logits, dim=1)
    torch.testing.assert_close(logits[:, -len(out.logits) - 1 : -1], steps, **CLOSE)


# ---- 5. batches are single runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_side", ["left", "right"])
@torch.no_grad()
def test_a_ragged_batch_of_mixed_budgets_equals_single_runs(family, padding_side):
    inputs, alone = batch_of(family, padding_side)
    together = family.model(**RANDOM.prune(family.model, inputs, [0.5, 3], forward=True)).logits[:, -1]
    for row, budget in enumerate((0.5, 3)):
        single = family.model(**RANDOM.prune(family.model, alone[row], budget, forward=True)).logits[:, -1]
        torch.testing.assert_close(together[row : row + 1], single, **CLOSE)


WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "static": {"cache_implementation": "static"},
    "static beams": {"cache_implementation": "static", "num_beams": 2},
    "lookup": {"prompt_lookup_num_tokens": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_ragged_batch_generates_what_single_runs_generate(family, way):
    if family.name == "paligemma2" and "static" in way:
        pytest.skip("transformers: a static cache fails on paligemma2 unpruned as well")
    inputs, alone = batch_of(family)
    how = calm(family, **WAYS[way])
    many = WAYS[way].get("num_return_sequences", 1)
    rows = [alone[0], alone[1]]
    if way == "lookup":  # transformers speculates for one row at a time, and not at all with recurrent layers
        if family.name.startswith("qwen3_5"):
            pytest.skip("transformers: assisted generation is not supported with stateful models")
        plain = family.model.generate(**RANDOM.prune(family.model, rows[0], 0.5), **calm(family))
        assert torch.equal(family.model.generate(**RANDOM.prune(family.model, rows[0], 0.5), **how), plain)
        return
    together = family.model.generate(**RANDOM.prune(family.model, inputs, [0.5, 3]), **how)[:, -5:]
    for row, budget in enumerate((0.5, 3)):
        single = family.model.generate(**RANDOM.prune(family.model, rows[row], budget), **how)[:, -5:]
        assert torch.equal(together[many * row : many * (row + 1)], single)


@torch.no_grad()
def test_a_row_of_text_alone_is_left_as_it_is(family):
    if family.name.startswith("paligemma"):
        pytest.skip("its processor demands an image for every prompt")
    inputs = family.inputs([(family.images(1), LONG), ([], QUESTION)])
    pruned = RANDOM.prune(family.model, inputs, 3, forward=True)
    text = family.inputs([([], QUESTION)])
    plain = family.model(**text, position_ids=full_positions(vlms.wrap(family.model), text)).logits[:, -1]
    torch.testing.assert_close(family.model(**pruned).logits[1:, -1], plain, **CLOSE)


# ---- 6. nothing is left behind ---------------------------------------------------------------------------------------


def test_nothing_is_left_on_the_model_that_an_unpruned_run_does_not_leave(family):
    inputs, _ = batch_of(family)
    family.model.generate(**inputs, **calm(family))  # transformers itself records hidden states with hooks
    before = left_on(family.model)
    family.model.generate(**RANDOM.prune(family.model, inputs, 0.3), **calm(family))
    assert left_on(family.model) == before


# ---- budgets ---------------------------------------------------------------------------------------------------------


def test_the_budget_is_kept_over_all_images_or_for_each(family):
    vlm = vlms.wrap(family.model)
    inputs, _ = batch_of(family)
    encoded = vlm.encode(inputs)
    mask = encoded.state.visual_mask
    joint = RANDOM.prune(family.model, inputs, 5)
    apart = RANDOM.prune(family.model, inputs, 3, per_image=True)
    text = [int(m.sum() - v.sum()) for m, v in zip(encoded.prompt.attention_mask, mask, strict=True)]
    images = [int(i.max()) + 1 for i in encoded.state.image]
    assert images == [2, 1]
    assert joint["attention_mask"].sum(1).tolist() == [text[0] + 5, text[1] + 5]
    assert apart["attention_mask"].sum(1).tolist() == [text[0] + 6, text[1] + 3]


def test_every_image_has_the_tokens_it_has_alone(family):
    if family.name == "llava_onevision":
        pytest.skip("it tiles an image only if it is alone")
    vlm = vlms.wrap(family.model)
    inputs, _ = batch_of(family)
    image = vlm.encode(inputs).state.image[0]
    alone = [int(vlm.encode(family.inputs([([one], QUESTION)])).state.counts[0]) for one in family.images(2)]
    assert image[: sum(alone)].bincount().tolist() == alone


def test_every_token_has_a_place_in_its_image(family):
    inputs, _ = batch_of(family)
    state = vlms.wrap(family.model).encode(inputs).state
    places = state.places[state.visual_mask]
    assert float(places.min()) >= 0
    assert float(places.max()) <= 1
    for row in range(2):
        for image in state.image[row][state.visual_mask[row]].unique():
            mine = state.places[row][state.visual_mask[row] & (state.image[row] == image)]
            assert (mine.amax(0) - mine.amin(0) > 0.3).all()  # spread over the image, not on a line


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_generating_without_a_cache_is_refused_or_exact(family):
    _, (inputs, _) = batch_of(family)
    how = calm(family, use_cache=False)
    if vlms.wrap(family.model).encode(inputs).prompt.position_ids.ndim == 3:  # whose text positions have no gaps
        expected = family.model.generate(**RANDOM.prune(family.model, inputs, 0.3), **calm(family))
        assert torch.equal(family.model.generate(**RANDOM.prune(family.model, inputs, 0.3), **how), expected)
        return
    with pytest.raises(ValueError, match="Leave use_cache alone"):
        family.model.generate(**RANDOM.prune(family.model, inputs, 0.3), **how)


@torch.no_grad()
def test_a_forward_without_the_mask_is_refused():
    family = load("llava")
    pruned = RANDOM.prune(family.model, batch_of(family)[1][0], 0.3, forward=True)
    pruned.pop("attention_mask")
    with pytest.raises(ValueError, match="need their attention_mask"):
        family.model(**pruned, use_cache=False)


def test_inputs_that_beams_have_expanded_are_refused_the_second_time():
    family = load("llava")
    pruned = RANDOM.prune(family.model, batch_of(family)[0], 0.3)
    family.model.generate(**pruned, **calm(family, num_beams=2))
    with pytest.raises(ValueError, match=r"call prune\(\) again"):
        family.model.generate(**pruned, **calm(family, num_beams=2))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": [0.1]}, "1 budgets for 2 rows"),
        ({"budget": 3, "min_tokens": 0}, "min_tokens must be at least 1"),
    ],
)
def test_an_impossible_budget_is_refused_with_the_reason(how, says):
    family = load("llava")
    with pytest.raises(ValueError, match=says):
        RANDOM.prune(family.model, batch_of(family)[0], **how)


def test_text_without_any_image_is_refused():
    family = load("llava")
    with pytest.raises(ValueError, match="no image to prune"):
        RANDOM.prune(family.model, family.inputs([([], QUESTION)]), 0.3)


def test_placeholders_without_features_are_counted():
    family = load("llava")
    inputs = family.inputs([(family.images(1), QUESTION)])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], inputs["input_ids"][:, :8]], dim=1)
    inputs.pop("attention_mask")
    with pytest.raises(ValueError, match=r"\d+ image placeholders in the prompts, but 16 features"):
        RANDOM.prune(family.model, inputs, 0.3)


@pytest.mark.parametrize("kind", sorted(vlms.REFUSED))
def test_a_family_that_cannot_be_pruned_is_refused_with_the_reason(kind):
    with pytest.raises(ValueError, match=f"{kind} cannot be pruned: {vlms.REFUSED[kind]}"):
        vlms.family_of(SimpleNamespace(model_type=kind))


def test_a_model_without_the_argument_is_refused():
    with pytest.raises(ValueError, match=r"transformers>=5\.21"):
        vlms.FrozenVLM(torch.nn.Linear(2, 2))


# ---- training --------------------------------------------------------------------------------------------------------


def test_gates_open_are_the_whole_model_and_shut_are_removed_tokens(family):
    from grip_vlm.vlms.attention import gated_attention

    if family.name in RECURRENT | {"paligemma2"}:
        pytest.skip("recurrent layers ignore attention gates; gemma2 has eager attention only")
    vlm = vlms.wrap(family.model)
    inputs, _ = batch_of(family)
    encoded = vlm.encode(inputs)
    prompt, action = encoded.prompt, Action(some(encoded.state, 0.4))
    gate = torch.where(action.mask, 0.0, -1e4).requires_grad_()
    row, token = (prompt.slots >= 0).nonzero(as_tuple=True)
    bias = torch.zeros(prompt.input_ids.shape).index_put((row, prompt.slots[row, token]), gate[row, token])
    whole = Action(encoded.state.visual_mask)
    with gated_attention(family.model, bias):
        shut = family.model(**vlm.pruned(prompt, whole), use_cache=False).logits[:, -1]
    with torch.no_grad():
        removed = family.model(**vlm.pruned(prompt, action), use_cache=False).logits[:, -1]
        unpruned = family.model(**vlm.pruned(prompt, whole), use_cache=False).logits[:, -1]
        with gated_attention(family.model, torch.zeros_like(bias)):
            opened = family.model(**vlm.pruned(prompt, whole), use_cache=False).logits[:, -1]
    torch.testing.assert_close(opened, unpruned, **CLOSE)
    torch.testing.assert_close(shut, removed, **CLOSE)
    ajar = torch.full_like(gate, -0.5).requires_grad_()
    bias = torch.zeros(prompt.input_ids.shape).index_put((row, prompt.slots[row, token]), ajar[row, token])
    with gated_attention(family.model, bias):
        family.model(**vlm.pruned(prompt, whole), use_cache=False).logits[:, -1].pow(2).sum().backward()
    assert ajar.grad[encoded.state.visual_mask].ne(0).all()


@pytest.fixture
def bank(family):
    vlm = vlms.wrap(family.model, family.processor)
    asked_and_answered = zip(family.images(3), *ASKED, strict=True)
    asked = [Example(str(i), image, q, (a,), "exact") for i, (image, q, a) in enumerate(asked_and_answered)]
    return build_bank(vlm, asked)


def test_an_answer_behind_the_prompt_is_counted_and_is_not_part_of_the_question(family, bank):
    tokenizer = family.processor.tokenizer
    for entry, answer in zip(bank.entries, ASKED[1], strict=True):
        target = entry.sample.input_ids[-entry.answer_length :]
        assert tokenizer.decode(target, skip_special_tokens=True).split() == answer.split()
        assert target[-1] == tokenizer.eos_token_id
    question = bank.batch([0]).encoded.state.question_mask.sum()
    plain = bank.vlm.encode(bank.vlm.inputs(family.images(1), ASKED[0][:1])).state.question_mask.sum()
    assert question == plain


@torch.no_grad()
def test_the_reward_of_a_group_equals_single_runs_of_the_processor(family, bank):
    batch = bank.batch([0, 1, 2])
    mask = batch.encoded.state.visual_mask
    together = teacher_forced(bank.vlm, batch, mask).log_likelihood
    half = [entry.sample.visual.dtype for entry in bank.entries]
    assert half == [torch.float16] * 3
    for i, (image, question, answer) in enumerate(zip(family.images(3), *ASKED, strict=True)):
        inputs = bank.vlm.inputs([image], [question], [answer])
        length = int(inputs.pop("answer_length")[0])
        logits = family.model(**inputs).logits[0, -length - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, inputs["input_ids"][0, -length:, None]).mean()
        torch.testing.assert_close(together[i], expected, atol=2e-2, rtol=0)  # features are kept in half precision


def test_an_answer_can_be_asked_for_in_words(family):
    vlm = vlms.wrap(family.model, family.processor)
    answer = vlm.answer(family.images(1)[0], QUESTION, RANDOM, 0.25, max_new_tokens=2)
    assert answer.kept == Budget.parse(0.25).k(answer.tokens)


# ---- several turns ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_second_turn_goes_on_from_the_pruned_cache(family):
    _, (inputs, _) = batch_of(family)
    how = calm(family, return_dict_in_generate=True, output_logits=True)
    pruned = RANDOM.prune(family.model, inputs, 0.4)
    first = family.model.generate(**pruned, **how)
    turn = torch.tensor([[6, 7, 8, 9]])
    second = follow_up(pruned, first.sequences, turn)
    out = family.model.generate(**second, past_key_values=first.past_key_values, **how)
    # The same from the start: prompt, answer and turn as one prompt without a cache.
    fresh = RANDOM.prune(family.model, inputs, 0.4, forward=True)
    whole = follow_up(fresh, out.sequences, torch.zeros(1, 0, dtype=torch.long))
    whole |= longer_types(fresh, out.sequences)
    logits = family.model(**whole, mm_encoder_outputs=fresh["mm_encoder_outputs"], use_cache=False).logits
    torch.testing.assert_close(logits[:, -6:-1], torch.stack(out.logits, dim=1), **CLOSE)


# ---- video -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO)
@torch.no_grad()
def test_keeping_all_of_a_video_is_bit_identical(name):
    family = load(name)
    inputs = family.video_inputs(family.clips)
    pruned = RANDOM.prune(family.model, inputs, 1.0, forward=True)
    assert torch.equal(family.model(**pruned).logits, family.model(**inputs).logits)


@pytest.mark.parametrize("name", [name for name in VIDEO if name not in RECURRENT])
@torch.no_grad()
def test_removed_equals_masked_in_a_video(name):
    family = load(name)
    vlm = vlms.wrap(family.model)
    inputs = family.video_inputs(family.clips)
    encoded = vlm.encode(inputs)
    action = Action(some(encoded.state, 0.3))
    expected = masked_logits(vlm, inputs, action.mask, encoded.prompt.slots)
    found = family.model(**vlm.pruned(encoded.prompt, action), use_cache=False).logits[:, -1]
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("name", VIDEO)
def test_beams_of_a_pruned_video_are_those_of_a_single_run(name):
    family = load(name)
    clips = [family.clip(frames, seed) for seed, frames in enumerate(family.clips)]

    def last(*samples):
        """Five tokens of each."""
        pruned = RANDOM.prune(family.model, family.inputs(list(samples)), 6)
        length = pruned["input_ids"].shape[1]
        out = family.model.generate(**pruned, **calm(family, num_beams=3))
        assert out.shape == (len(samples), length + 5)
        return out[:, -5:]

    rows = [(clips[:1], LONG), (clips[1:], QUESTION), (clips, QUESTION)]
    assert torch.equal(last(*rows), torch.cat([last(row) for row in rows]))
