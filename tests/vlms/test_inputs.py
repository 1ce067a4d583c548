"""What people pass by mistake is a sentence that says what would be right, before anything is computed."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from toolkit.families import NAMES, QUESTION, RANDOM, load

from grip_vlm import pruners, vlms
from grip_vlm.sequence import Positions, prune_sequence
from grip_vlm.vlms.prompts import check_length

IMAGE = Image.new("RGB", (64, 64), "red")


@pytest.fixture(scope="module")
def family():
    return load("llava")


@pytest.fixture
def inputs(family):
    return dict(family.inputs([(family.images(1), QUESTION)]))


# ---- prune -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"the inputs have no input_ids \(only nothing\); they come from processor"),
        ({"pixel_values": torch.zeros(1, 3, 32, 32)}, r"no input_ids \(only pixel_values\)"),
        (None, "inputs are the processor's output, with input_ids and pixels; not NoneType"),
        ([1, 2], "not list"),
        ("what?", "not str"),
        (torch.zeros(1, 3), "not Tensor"),
    ],
)
def test_what_is_no_processors_output_is_refused(family, inputs, message):
    with pytest.raises(ValueError, match=message):
        RANDOM.prune(family.model, inputs, 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_ids": [[1, 2]]}, "input_ids must be a tensor of integers"),
        ({"input_ids": torch.zeros(1, 4)}, "input_ids must be a tensor of integers"),
        ({"input_ids": torch.zeros(4, dtype=torch.long)}, r"input_ids must be a tensor of integers, \(batch, length\)"),
        ({"input_ids": torch.zeros(0, 4, dtype=torch.long)}, r"input_ids are empty, \(0, 4\)"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.long)}, r"input_ids are empty, \(2, 0\)"),
        ({"attention_mask": torch.ones(1, 3)}, "attention_mask must be a tensor of input_ids' shape"),
        ({"pixel_values": None}, "there is no image to prune: .* give prompts of text alone to the model as they are"),
        ({"input_ids": torch.ones(1, 24, dtype=torch.long)}, "0 image placeholders in the prompts, but 16 features"),
    ],
)
def test_inputs_that_are_not_whole_are_refused(family, inputs, changed, message):
    if "input_ids" in changed:
        inputs.pop("attention_mask")
    with pytest.raises(ValueError, match=message):
        RANDOM.prune(family.model, {**inputs, **changed}, 4)


def test_inputs_on_another_device_are_refused_with_both(family, inputs):
    elsewhere = {name: value.to("meta") for name, value in inputs.items()}
    with pytest.raises(ValueError, match=r"input_ids is on device meta, but the model on cpu; move them: inputs\.to"):
        RANDOM.prune(family.model, elsewhere, 4)


@pytest.mark.parametrize("positions", ["Compact", "packed", "", None, True])
def test_positions_of_another_name_are_refused_with_those_there_are(family, inputs, positions):
    with pytest.raises(ValueError, match="positions must be one of 'original', 'compact', not "):
        RANDOM.prune(family.model, inputs, 4, positions=positions)


def test_positions_are_checked_wherever_they_are_passed(family, inputs):
    vlm = vlms.wrap(family.model)
    encoded = vlm.encode(inputs)
    action = pruners.load("full").select(vlm, encoded, torch.tensor([16]))
    for call in (vlm.pruned, prune_sequence):
        with pytest.raises(ValueError, match="positions must be one of"):
            call(encoded.prompt, action, positions="Original")
    assert Positions.__args__ == ("original", "compact")


def test_an_impossible_budget_is_refused_before_the_tower_runs(family):
    for budget in (0, [0.1, 2.0], "many"):
        with pytest.raises(ValueError, match="a budget is"):
            RANDOM.prune(family.model, {}, budget)


def test_a_model_of_something_else_is_refused():
    with pytest.raises(ValueError, match="Linear is not a transformers model"):
        RANDOM.prune(torch.nn.Linear(2, 2), {}, 4)


# ---- questions and pruners -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (None, "the question must be text, not NoneType"),
        (b"what?", "the question must be text, not bytes: b'what"),
        (3, "the question must be text, not int"),
        (["what?"], "the question must be text, not list"),
        ("caf\udce9?", r"the question 'caf\\udce9\?' is not text: character 3 is half of one"),
        ("\ud83d", "is not text: character 0"),
    ],
)
@pytest.mark.parametrize("name", ["llava", "paligemma"])
def test_a_question_that_is_not_text_is_refused(name, question, message):
    family = load(name)
    with pytest.raises(ValueError, match=message):
        vlms.wrap(family.model, family.processor).answer(IMAGE, question)


def test_an_answer_that_is_not_text_is_refused(family):
    with pytest.raises(ValueError, match="the answer must be text, not NoneType"):
        vlms.wrap(family.model, family.processor).inputs([IMAGE], ["what?"], [None])


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_question_is_a_question(name):
    family = load(name)
    answer = vlms.wrap(family.model, family.processor).answer(IMAGE, "", RANDOM, 4, max_new_tokens=2)
    assert answer.kept == 4


def test_a_question_longer_than_the_context_is_refused_with_both_lengths(family):
    vlm = vlms.wrap(family.model, family.processor, "mine")
    with pytest.raises(
        ValueError, match=r"image and question are \d+ tokens, but the context of 'mine' is 512; shorten"
    ):
        vlm.answer(IMAGE, "what " * 600)


def test_positions_that_are_scaled_make_the_context_longer():
    config = SimpleNamespace(max_position_embeddings=512, rope_parameters={"rope_type": "yarn", "factor": 4.0})
    assert check_length(config, 2047, "mine") is None
    with pytest.raises(ValueError, match="is 2048"):
        check_length(config, 2048, "mine")


def test_a_pruner_may_be_given_by_its_name(vlm, examples):
    asked = (examples[0].image, examples[0].question)
    by_name = vlm.answer(*asked, "uniform", 9, max_new_tokens=2)
    assert by_name.kept_indices == vlm.answer(*asked, pruners.load("uniform"), 9, max_new_tokens=2).kept_indices


def test_the_shipped_scorer_is_found_by_the_name_of_its_method(examples):
    shipped = vlms.load("tiny-llava", device="cpu")
    answer = shipped.answer(examples[0].image, examples[0].question, "grip", 0.1, max_new_tokens=2)
    grip = pruners.load("grip", scorer="tiny-llava")
    assert answer.kept_indices == shipped.answer(examples[0].image, examples[0].question, grip, 0.1).kept_indices


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("magic", "unknown pruner 'magic'; choose from"),
        ("grip", "no scorer is shipped for"),
        (3, "a pruner is one of grip_vlm.load_pruner, or its name, not int"),
        ("", "unknown pruner ''"),
    ],
)
def test_an_unknown_pruner_is_refused(vlm, examples, pruner, message):
    with pytest.raises(ValueError, match=message):
        vlm.answer(examples[0].image, "What?", pruner, 9)


# ---- narrow images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
@pytest.mark.parametrize("size", [(1, 64), (64, 1), (3, 200), (200, 3), (1, 300), (300, 1), (1, 1)])
def test_an_image_of_which_no_row_or_column_of_tiles_is_left_is_pruned(name, size):
    family = load(name)
    vlm = vlms.wrap(family.model)
    method = {"llava_next": "cls_attention", "llava_onevision": "visionzip"}[name]
    images = [Image.new("RGB", size, "red"), *family.images(1)]
    encoded = vlm.encode(dict(family.inputs([([image], QUESTION) for image in images])))
    k = encoded.state.counts // 2
    for pruner in (RANDOM, pruners.load(method)):
        assert pruner.select(vlm, encoded, k).kept.tolist() == k.tolist()
    places = encoded.state.places[encoded.state.visual_mask]
    assert ((places >= 0) & (places <= 1)).all()
