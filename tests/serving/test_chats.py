"""Conversations answered from pruned prompts, on tiny random models of the true classes."""

from functools import cache, partial

import pytest
import tiny
import torch
from toolkit.families import calm

from grip_vlm import pruners, vlms
from grip_vlm.budget import Budget
from grip_vlm.serving.chats import Generation, Reply, reply

FIVE = Generation.parse({"max_new_tokens": 5})
FULL = pruners.load("full")


@cache
def load(name):
    """The family, whose answers hold neither padding nor tokens that stand for images."""
    family = tiny.load(name)
    family.model.generation_config.suppress_tokens = [*calm(family)["suppress_tokens"], 0]
    return family, vlms.wrap(family.model, family.processor)


@pytest.fixture(params=["llava_next", "qwen2_5_vl", "gemma3"])
def loaded(request):
    return load(request.param)


def asked(visuals, question):
    kinds = ["video" if isinstance(visual, list) else "image" for visual in visuals]
    content = [{"type": kind, kind: visual} for kind, visual in zip(kinds, visuals, strict=True)]
    return [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]


def mixed(family):
    """Two images, none, and one."""
    one, two, three = family.images(3)
    return [asked([one, two], "is there a cat ?"), asked([], "how many ?"), asked([three], "what is in the image ?")]


def prune(vlm, name="random", budget=0.3, **options):
    return partial(pruners.load(name).prune, vlm, budget=budget, **options)


def contents(replies):
    return [(one.text, one.visual_tokens, one.kept, one.input_tokens, one.output_tokens) for one in replies]


def test_a_batch_with_and_without_images_is_answered_as_each_by_itself(loaded):
    family, vlm = loaded
    together = reply(vlm, mixed(family), prune(vlm), FIVE)
    alone = [reply(vlm, [one], prune(vlm), FIVE)[0] for one in mixed(family)]
    assert contents(together) == contents(alone)


@pytest.mark.parametrize("beams", [1, 2])
def test_answers_from_all_tokens_are_the_models_own(loaded, beams):
    family, vlm = loaded
    image = family.images(1)[0]
    inputs = family.inputs([([image], "is there a cat ?")])
    out = family.model.generate(**inputs, max_new_tokens=5, num_beams=beams, do_sample=False)
    expected = family.processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    generation = Generation.parse({"max_new_tokens": 5, "num_beams": beams, "temperature": 0})
    assert reply(vlm, [asked([image], "is there a cat ?")], prune(vlm, "full"), generation)[0].text == expected.strip()


def test_tokens_are_counted_before_and_after_pruning(loaded):
    family, vlm = loaded
    full, pruned = (reply(vlm, mixed(family), prune(vlm, "random", budget), FIVE) for budget in (1.0, 0.3))
    n = [int(vlm.encode(family.inputs([(family.images(2), "is there ?")])).state.counts[0]), 0]
    assert [one.visual_tokens for one in full[:2]] == [one.kept for one in full[:2]] == n
    for before, after in zip(full, pruned, strict=True):
        assert after.visual_tokens == before.visual_tokens
        assert after.kept == (Budget.parse(0.3).k(before.kept) if before.kept else 0)
        assert before.input_tokens - after.input_tokens == before.kept - after.kept


def test_a_clip_and_an_image_are_pruned_together():
    family, vlm = load("qwen2_5_vl")
    chat = asked([family.clip(family.clips[0]), family.images(1)[0]], "what is in the clip ?")
    [each] = reply(vlm, [chat], prune(vlm, budget=3, per_image=True), FIVE)
    assert each.kept == 6


def test_an_answer_ends_before_a_string_that_ends_it(loaded):
    family, vlm = loaded
    [free] = reply(vlm, mixed(family)[:1], prune(vlm), FIVE)
    word = free.text.split()[2]
    ended = Generation.parse({"max_new_tokens": 5, "until": ["no such word", word]})
    [cut] = reply(vlm, mixed(family)[:1], prune(vlm), ended)
    assert cut.text == free.text.split(word)[0].strip()
    assert cut.output_tokens == free.text.split().index(word) + 1 < free.output_tokens


def test_a_string_in_the_question_ends_nothing(loaded):
    family, vlm = loaded
    [free] = reply(vlm, mixed(family)[:1], prune(vlm), FIVE)
    until = next(word for word in ("is", "there", "a", "cat", "?") if word not in free.text)
    [same] = reply(vlm, mixed(family)[:1], prune(vlm), Generation.parse({"max_new_tokens": 5, "until": until}))
    assert same.text == free.text


def test_an_answer_is_counted_without_the_token_that_ends_it(loaded):
    family, vlm = loaded
    [free] = reply(vlm, mixed(family)[:1], prune(vlm), FIVE)
    config = family.model.generation_config
    tokens = family.processor.tokenizer(free.text, add_special_tokens=False).input_ids
    config.eos_token_id = tokens[2]
    try:
        [ended] = reply(vlm, mixed(family)[:1], prune(vlm), FIVE)
    finally:
        config.eos_token_id = None
    assert ended.output_tokens == tokens.index(tokens[2])


def test_a_temperature_draws_and_a_seed_repeats_it():
    family, vlm = load("llava_next")
    hot = Generation.parse({"max_new_tokens": 5, "temperature": 9.0, "top_k": 40})
    texts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        texts.append(reply(vlm, mixed(family)[:1], prune(vlm), hot)[0].text)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("settings", "sample"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"temperature": 0.7}, True),
        ({"temperature": 0.7, "do_sample": False}, False),
        ({"temperature": 0, "do_sample": True}, False),
        ({"do_sample": True}, True),
        ({"do_sample": None, "temperature": None}, False),
    ],
)
def test_answers_are_greedy_unless_a_task_wants_a_temperature(settings, sample):
    options = Generation.parse({**settings, "top_p": 0.9}).options
    assert options["do_sample"] is sample
    assert options.get("top_p") == (0.9 if sample else None)


def test_a_setting_that_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match="seed are unknown here; known: until, do_sample"):
        Generation.parse({"seed": 3})


def test_seconds_are_shared_by_a_batch(loaded):
    family, vlm = loaded
    replies = reply(vlm, mixed(family), prune(vlm), FIVE)
    assert len({one.seconds for one in replies}) == 1
    assert isinstance(replies[0], Reply)
    assert replies[0].seconds > 0
