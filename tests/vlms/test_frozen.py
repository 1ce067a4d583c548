"""Pruning is exact: the unmodified model, shorter sequences, original positions, batches equal to single runs."""

from dataclasses import replace

import pytest
import tiny
import torch
from PIL import Image

from grip_vlm import pruners, vlms
from grip_vlm.mdp import Action

CALM = {"do_sample": False, "max_new_tokens": 5, "eos_token_id": None, "suppress_tokens": [3]}


def encode(vlm, examples):
    inputs = vlm.inputs([e.image for e in examples], [e.question for e in examples])
    return inputs, vlm.encode(inputs)


def keep_some(encoded, k, seed=0):
    scores = torch.rand(encoded.state.visual_mask.shape, generator=torch.Generator().manual_seed(seed))
    rank = scores.argsort(1, descending=True).argsort(1)
    return Action(rank < torch.as_tensor(k).view(-1, 1))


def test_keeping_all_gives_bit_identical_logits(vlm, examples):
    inputs, encoded = encode(vlm, examples[:1])
    pruned = vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask))
    with torch.no_grad():
        assert torch.equal(vlm.model(**pruned).logits, vlm.model(**inputs).logits)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_keeping_all_of_a_padded_batch_generates_identically(vlm, examples, how):
    inputs, encoded = encode(vlm, examples[:4])
    pruned = vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask))
    ours = vlm.model.generate(**pruned, **CALM, **how)
    assert torch.equal(ours, vlm.model.generate(**inputs, **CALM, **how))


def test_keeping_all_samples_identically_with_the_same_seed(vlm, examples):
    inputs, encoded = encode(vlm, examples[:2])
    outs = []
    for kwargs in (inputs, vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask))):
        torch.manual_seed(5)
        outs.append(vlm.model.generate(**kwargs, **{**CALM, "do_sample": True}))
    assert torch.equal(*outs)


def test_the_language_model_really_gets_fewer_tokens(vlm, examples):
    inputs, encoded = encode(vlm, examples[:1])
    pruned = vlm.pruned(encoded.prompt, keep_some(encoded, [20]))
    cache = vlm.model(**pruned, use_cache=True).past_key_values
    assert cache.get_seq_length() == inputs["input_ids"].shape[1] - 196 + 20


def test_removed_equals_masked(vlm, examples):
    inputs, encoded = encode(vlm, examples[:1])
    action = keep_some(encoded, [20])
    mask = inputs["attention_mask"].clone()
    mask[0, encoded.prompt.slots[0][~action.mask[0]]] = 0
    # A key mask with holes, positions of the full sequence.
    full = vlm.model(**{**inputs, "attention_mask": mask}, position_ids=encoded.prompt.position_ids, use_cache=False)
    short = vlm.model(**vlm.pruned(encoded.prompt, action), use_cache=False)
    torch.testing.assert_close(short.logits[:, -1], full.logits[:, -1], atol=2e-4, rtol=1e-4)


def test_compacted_positions_would_be_noticed(vlm, examples):
    _, encoded = encode(vlm, examples[:1])
    pruned = vlm.pruned(encoded.prompt, keep_some(encoded, [20]))
    right = vlm.model(**pruned).logits[:, -1]
    pruned = vlm.pruned(encoded.prompt, keep_some(encoded, [20]))
    pruned["position_ids"] = torch.arange(pruned["input_ids"].shape[1])[None]
    assert (vlm.model(**pruned).logits[:, -1] - right).abs().max() > 1e-2


def test_different_budgets_in_one_batch_equal_single_runs(vlm, examples):
    _, encoded = encode(vlm, examples[:4])
    action = keep_some(encoded, [4, 196, 30, 11])
    together = vlm.model(**vlm.pruned(encoded.prompt, action)).logits[:, -1]
    for i in range(4):
        _, alone = encode(vlm, examples[i : i + 1])
        single = vlm.model(**vlm.pruned(alone.prompt, Action(action.mask[i : i + 1]))).logits[:, -1]
        torch.testing.assert_close(together[i : i + 1], single, atol=2e-4, rtol=1e-4)


def test_a_batch_generates_what_single_runs_generate(vlm, examples):
    _, encoded = encode(vlm, examples[:3])
    action = keep_some(encoded, [4, 60, 11])
    together = vlm.model.generate(**vlm.pruned(encoded.prompt, action), **CALM)[:, -5:]
    for i in range(3):
        _, alone = encode(vlm, examples[i : i + 1])
        single = vlm.model.generate(**vlm.pruned(alone.prompt, Action(action.mask[i : i + 1])), **CALM)[:, -5:]
        assert torch.equal(together[i : i + 1], single)


def test_a_group_shares_one_prompt(vlm, examples):
    _, encoded = encode(vlm, examples[:2])
    masks = torch.cat([keep_some(encoded, [9, 9], seed).mask for seed in range(3)])
    rows = torch.tensor([0, 1, 0, 1, 0, 1])
    grouped = vlm.model(**vlm.pruned(encoded.prompt, Action(masks), rows)).logits[:, -1]
    second = vlm.model(**vlm.pruned(encoded.prompt, Action(masks[2:4]))).logits[:, -1]
    torch.testing.assert_close(grouped[2:4], second, atol=1e-4, rtol=1e-4)


def test_no_visual_token_at_all_runs(vlm, examples):
    _, encoded = encode(vlm, examples[:2])
    pruned = vlm.pruned(encoded.prompt, Action(torch.zeros_like(encoded.state.visual_mask)))
    assert not (pruned["input_ids"] == vlm.model.config.image_token_id).any()
    assert torch.isfinite(vlm.model(**pruned).logits).all()


def test_the_question_is_the_text_after_the_image(vlm, examples):
    inputs, encoded = encode(vlm, examples[:3])
    tokens = vlm.processor.tokenizer
    for i, example in enumerate(examples[:3]):
        expected = len(tokens(example.question + "ASSISTANT:", add_special_tokens=False).input_ids)
        assert int(encoded.state.question_mask[i].sum()) == expected
    assert inputs["input_ids"].shape[0] == 3


def test_the_answer_is_not_part_of_the_question(vlm, examples):
    _, plain = encode(vlm, examples[:3])
    answers = [e.answers[0] for e in examples[:3]]
    taught = vlm.encode(vlm.inputs([e.image for e in examples[:3]], [e.question for e in examples[:3]], answers))
    assert torch.equal(plain.state.question_mask, taught.state.question_mask)
    torch.testing.assert_close(plain.state.question, taught.state.question)


def test_nothing_is_left_on_the_model(vlm, examples):
    before = set(vars(vlm.model)), vlm.model.config.to_json_string()
    vlm.answer(examples[0].image, examples[0].question, pruners.load("cls_attention"), 0.1, max_new_tokens=2)
    assert (set(vars(vlm.model)), vlm.model.config.to_json_string()) == before
    assert not any(weight.requires_grad for weight in vlm.model.parameters())


def test_an_answer_says_what_was_kept(vlm, examples):
    answer = vlm.answer(examples[0].image, examples[0].question, pruners.load("random"), 0.1, max_new_tokens=2)
    assert (answer.tokens, answer.kept, len(set(answer.kept_indices))) == (196, 20, 20)
    assert answer.kept_indices == sorted(answer.kept_indices)


def test_an_answer_without_a_pruner_is_that_of_full(vlm, examples):
    asked = (examples[0].image, examples[0].question)
    plain, full = vlm.answer(*asked), vlm.answer(*asked, pruners.load("full"))
    assert replace(plain, seconds=0) == replace(full, seconds=0)
    assert (plain.kept, plain.kept_indices) == (196, list(range(196)))
    assert plain.text


def test_an_image_is_required(vlm, examples):
    inputs = vlm.inputs([examples[0].image], [examples[0].question])
    inputs.pop("pixel_values")
    with pytest.raises(ValueError, match="no image to prune"):
        vlm.encode(inputs)


def test_an_unknown_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="neither shipped"):
        vlms.load(str(tmp_path / "nothing"))


def test_cls_attention_equals_the_towers_own_map(vlm, examples):
    from grip_vlm.vlms.tower import read_tower

    _, encoded = encode(vlm, examples[:2])
    tower = vlm.model.base_model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        maps = tower(encoded.pixels, output_attentions=True).attentions[-1]
    finally:
        tower.set_attn_implementation("sdpa")
    torch.testing.assert_close(
        read_tower(vlm, encoded, "this test").cls_attention(), maps.mean(1)[:, 0, 1:], atol=1e-5, rtol=1e-4
    )


# How public templates write a turn of the model: what stands before its words, and what ends it.
TURNS = {
    "as tiny-llava": ("ASSISTANT:", "", "</s>", ("", "</s>")),
    "a space between, nothing behind (LLaVA-1.5)": ("ASSISTANT:", " ", " ", (" ", "</s>")),
    "a space between, an end of turn (Idefics3)": ("ASSISTANT:", " ", "<pad>\n", (" ", "<pad>")),
    "a line of its own (Qwen)": ("ASSISTANT:\n", "", "<pad>\n", ("", "<pad>")),
    "a prompt that thinks for the model (Qwen3)": ("ASSISTANT:\n<think>\n\n</think>\n\n", "", "</s>", ("", "</s>")),
}


@pytest.mark.parametrize(("opening", "space", "end", "expected"), TURNS.values(), ids=TURNS)
def test_an_answer_is_written_as_the_template_writes_the_models_turn(
    vlm, examples, monkeypatch, opening, space, end, expected
):
    answer_turn = "{{ '" + repr(space)[1:-1] + "' + m['content'][0]['text'] + '" + repr(end)[1:-1] + "' }}"
    user = "<s>USER:<image>{{ m['content'][-1]['text'] }}"
    prompt = "{{ '" + repr(opening)[1:-1] + "' }}"
    template = (
        f"{{% for m in messages %}}{{% if m['role'] == 'user' %}}{user}{{% else %}}{prompt}{answer_turn}{{% endif %}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{prompt}{{% endif %}}"
    )
    monkeypatch.setattr(vlm.processor, "chat_template", template)
    inputs = vlm.inputs([examples[0].image], ["Is it?"], ["no"])
    written = vlm.processor.tokenizer.decode(inputs["input_ids"][0], clean_up_tokenization_spaces=False)
    before, after = expected
    assert written.endswith(f"Is it?{opening}{before}no{after}")
    answer = inputs["input_ids"][0, -int(inputs["answer_length"]) :]
    assert vlm.processor.tokenizer.decode(answer, clean_up_tokenization_spaces=False) == f"{before}no{after}"


@pytest.mark.parametrize(("size", "grid"), [((56, 112), (11, 5)), ((112, 56), (5, 11))])
def test_the_grid_is_the_vision_towers_own(size, grid):
    family = tiny.load("qwen2_vl")
    vlm = vlms.wrap(family.model, family.processor)
    assert vlm.visible_area(Image.new("RGB", size), "what is in the image ?")[1] == grid


@pytest.mark.parametrize("name", ["internvl", "llava_next"])
def test_tiles_are_no_grid_over_the_image(name):
    family = tiny.load(name)
    vlm = vlms.wrap(family.model, family.processor, name)
    with pytest.raises(ValueError, match=f"visual tokens of '{name}' are not one grid over the image"):
        vlm.visible_area(family.images(1)[0], "what is in the image ?")


@pytest.mark.parametrize(("crops", "size"), [(True, (100, 100)), (False, (200, 100))])
def test_where_the_processor_crops_only_the_middle_is_seen(vlm, monkeypatch, crops, size):
    monkeypatch.setattr(vlm.processor.image_processor, "do_center_crop", crops)
    monkeypatch.setattr(vlm.processor.image_processor, "crop_size", vlm.processor.image_processor.size)
    image = Image.new("RGB", (200, 100), "red")
    image.paste("blue", (0, 0, 50, 100))
    part, grid = vlm.visible_area(image, "Is it?")
    assert (part.size, grid) == (size, (14, 14))
    assert (part.getpixel((0, 0)) == (255, 0, 0)) == crops
