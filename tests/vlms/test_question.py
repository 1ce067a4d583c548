"""The question is the text of the last user turn, wherever it stands; nothing else of the prompt is."""

import pytest
import tiny
import torch
from toolkit.families import NAMES, batch_of, load

from grip_vlm import pruners, vlms
from grip_vlm.vlms.early import question_attention, read_early_layers

WORDS, OTHERS = "what is in the image ?", "how many red circle are there ?"
TAIL = "assistant :"
CHAT = [name for name in NAMES if load(name).chat]
# Every turn ends in a token that the model's configuration names, as in the templates of Qwen, InternVL and SmolVLM.
ENDED = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE "
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}<eos>{% endfor %}assistant : "
)


def message(*parts, role="user"):
    """Parts are texts, or None for an image."""
    content = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]
    return {"role": role, "content": content}


def inputs_of(family, *conversations, template=None, padding_side="left"):
    """The processor's output for conversations of messages."""
    images = [[p for m in talk for p in m["content"] if p["type"] == "image"] for talk in conversations]
    texts = [
        family.processor.apply_chat_template(list(c), add_generation_prompt=True, chat_template=template)
        for c in conversations
    ]
    return family.processor(
        images=[family.images(len(row)) for row in images],
        text=texts,
        return_tensors="pt",
        padding=True,
        padding_side=padding_side,
    )


def asked(vlm, family, inputs, row=0):
    """The words of the question, without special tokens."""
    encoded = vlm.encode(dict(inputs))
    tokens = encoded.prompt.input_ids[row][encoded.question[row]]
    told = encoded.state.question[row][encoded.state.question_mask[row]]
    assert torch.equal(told, family.model.get_input_embeddings()(tokens))
    return family.processor.tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.fixture(params=CHAT)
def family(request):
    return load(request.param)


def with_processor(family):
    return vlms.wrap(family.model, family.processor)


def ended(family):
    return ENDED.replace("IMAGE", family.image_token)


@pytest.mark.parametrize("processor", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_question_after_the_image_is_all_text_after_the_last_visual_token(name, processor):
    """What the scorers were trained on, to the token."""
    family = load(name)
    vlm = with_processor(family) if processor else vlms.wrap(family.model)
    encoded = vlm.encode(dict(batch_of(family)[0]))
    column = torch.arange(encoded.prompt.input_ids.shape[1])
    expected = (column > encoded.prompt.slots.amax(1)[:, None]) & encoded.prompt.attention_mask.bool()
    assert torch.equal(encoded.question, expected)
    assert torch.equal(encoded.readers, expected)


def test_a_question_before_the_image_is_seen(family):
    inputs = inputs_of(family, [message(WORDS, None)])
    assert asked(with_processor(family), family, inputs) == f"{WORDS} {TAIL}"


def test_a_question_between_two_images_is_seen(family):
    inputs = inputs_of(family, [message(None, WORDS, None)])
    assert asked(with_processor(family), family, inputs) == f"{WORDS} {TAIL}"


def test_a_question_around_images_is_seen_where_only_a_mark_follows(family):
    inputs = inputs_of(family, [message("what is in", None, "and", None, "?")])
    assert asked(with_processor(family), family, inputs) == f"what is in and ? {TAIL}"


def test_a_system_prompt_is_not_the_question(family):
    talk = [message("big small", role="yes"), message(WORDS, None)]
    assert asked(with_processor(family), family, inputs_of(family, talk)) == f"{WORDS} {TAIL}"


def test_the_last_turn_is_the_question_where_the_image_was_shown_before(family):
    talk = [message(None, OTHERS), message("one", role="assistant"), message(WORDS)]
    assert asked(with_processor(family), family, inputs_of(family, talk)) == f"{WORDS} {TAIL}"


def test_an_earlier_turn_is_not_the_question_where_the_image_is_shown_again(family):
    talk = [message(None, OTHERS), message("one", role="assistant"), message(WORDS, None)]
    assert asked(with_processor(family), family, inputs_of(family, talk)) == f"{WORDS} {TAIL}"


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_a_batch_have_the_questions_that_they_have_alone(family, side):
    talks = [message(WORDS, None)], [message(None, None, OTHERS)]
    together = inputs_of(family, *talks, padding_side=side)
    vlm = with_processor(family)
    assert [asked(vlm, family, together, row) for row in (0, 1)] == [
        asked(vlm, family, inputs_of(family, talk)) for talk in talks
    ]


# ---- without a processor ---------------------------------------------------------------------------------------------


def test_without_a_processor_a_token_that_ends_the_turn_shows_the_question_before_the_image(family):
    inputs = inputs_of(family, [message(WORDS, None)], template=ended(family))
    assert asked(vlms.wrap(family.model), family, inputs) == f"user : {WORDS} {TAIL}"


def test_without_a_processor_a_system_prompt_that_is_ended_is_not_the_question(family):
    talk = [message("big small", role="yes"), message(WORDS, None)]
    inputs = inputs_of(family, talk, template=ended(family))
    assert asked(vlms.wrap(family.model), family, inputs) == f"user : {WORDS} {TAIL}"


def test_without_a_processor_the_last_of_several_ended_turns_is_the_question(family):
    talk = [message(None, OTHERS), message("one", role="assistant"), message(WORDS)]
    inputs = inputs_of(family, talk, template=ended(family))
    assert asked(vlms.wrap(family.model), family, inputs) == f"user : {WORDS} {TAIL}"


def test_without_a_processor_and_without_borders_a_long_text_before_and_a_short_one_after_shows_the_question(family):
    inputs = inputs_of(family, [message(WORDS, None)])
    assert asked(vlms.wrap(family.model), family, inputs) == f"user : {WORDS} {TAIL}"


def test_without_a_processor_and_without_borders_a_long_text_after_the_image_is_the_question(family):
    inputs = inputs_of(family, [message(OTHERS, None, WORDS)])
    assert asked(vlms.wrap(family.model), family, inputs) == f"{WORDS} {TAIL}"


# ---- what reads it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cdpruner", "pumer"])
def test_relevance_is_the_same_on_either_side_of_the_image(family, name):
    """Both orders have the same tokens, and the cosines do not read their order."""
    vlm = with_processor(family)
    before, after = (vlm.encode(dict(inputs_of(family, [message(*parts)]))) for parts in ((WORDS, None), (None, WORDS)))
    k = before.state.counts // 3
    first, second = (pruners.load(name).select(vlm, encoded, k) for encoded in (before, after))
    assert first.indices() == second.indices()


@pytest.mark.parametrize("name", ["cdpruner", "dart", "ptp", "pyramiddrop", "sparsevlm"])
def test_every_method_that_reads_the_question_reads_one_before_the_image(name):
    family = tiny.load("llava")
    family.model.generation_config.suppress_tokens = [family.model.config.image_token_id]
    vlm = with_processor(family)

    def kept(words):
        encoded = vlm.encode(dict(inputs_of(family, [message(words, None)])))
        action = pruners.load(name).select(vlm, encoded, torch.tensor([8]))
        return tuple(vlm.respond(encoded, action, 1).reached.indices())

    asks = ["what color red cat", "how many blue dog", "is big circle left", "square under ?", "two three first shape"]
    assert len({kept(words) for words in asks}) > 1


@torch.no_grad()
def test_methods_by_attention_ask_with_what_follows_the_image():
    """A token attends only to what stands before it: words before the image say nothing about it."""
    family = load("llava")
    vlm = with_processor(family)
    encoded = vlm.encode(dict(inputs_of(family, [message(WORDS, None)])))
    last = encoded.prompt.slots.amax(1)
    after = torch.arange(encoded.prompt.input_ids.shape[1])[None] > last[:, None]
    assert torch.equal(encoded.readers, encoded.question & after)
    early = read_early_layers(vlm, encoded, "this test")
    assert early.question[0].tolist() == encoded.question[0].nonzero()[:, 0].tolist()
    assert early.readers[0].tolist() == encoded.readers[0].nonzero()[:, 0].tolist()
    assert question_attention(vlm, encoded, "this test").gt(0).all()
    for name in ("fastv", "sparsevlm"):
        queries = pruners.load(name).queries(encoded)
        assert queries.any()
        assert not (queries & ~encoded.readers).any()


def test_a_prompt_that_ends_in_its_image_has_nobody_to_ask():
    family = load("llava")
    inputs = family.processor(images=[family.images(1)], text=[f"user : {WORDS} <image>"], return_tensors="pt")
    vlm = with_processor(family)
    assert asked(vlm, family, inputs) == WORDS
    with pytest.raises(ValueError, match="ranked by the text after the image; a row has none"):
        pruners.load("fastv").select(vlm, vlm.encode(dict(inputs)), torch.tensor([8]))


def test_each_image_with_a_budget_of_its_own_has_the_question_of_its_row():
    family = load("llava")
    vlm = with_processor(family)
    inputs = inputs_of(family, [message(WORDS, None, None)], [message(None, OTHERS)])
    seen = []

    class Listener(type(pruners.load("uniform"))):
        def select(self, vlm, encoded, k):
            seen.append(encoded)
            return super().select(vlm, encoded, k)

    Listener().prune(vlm, inputs, 4, per_image=True)
    (encoded,) = seen
    words = [
        family.processor.tokenizer.decode(ids[mask], skip_special_tokens=True)
        for ids, mask in zip(encoded.prompt.input_ids, encoded.question, strict=True)
    ]
    assert words == [f"{WORDS} {TAIL}"] * 2 + [f"{OTHERS} {TAIL}"]
