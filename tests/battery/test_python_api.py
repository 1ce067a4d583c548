"""From Python, what is wrong is a ValueError that says what would be right; TypeError where an argument is unknown."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from battery.conftest import bounded
from PIL import Image
from toolkit import bad

import grip_vlm
from grip_vlm import literals, pruners, vlms
from grip_vlm.options import DType
from grip_vlm.sequence import Positions

OBJECTS = {
    "None": None,
    "true": True,
    "bytes": b"full",
    "a list": ["full"],
    "an object": {},
    "a number": 3,
    "a set": {1},
    "a class": object,
    "a tensor": torch.zeros(2),
    "an array": np.zeros(2),
    "a complex": 1j,
    "a function": len,
}
BUDGETS = {
    **{f"text {name}": value for name, value in bad.NOT_A_BUDGET.items()},
    **{name: value for name, value in OBJECTS.items() if name not in ("a number", "a list")},
    "zero": 0,
    "negative": -3,
    "zero point": 0.0,
    "above one": 1.5,
    "not a number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "a ratio": Fraction(1, 2),
    "an empty list": [],
    "a list in a list": [[0.1]],
    "two for one row": [0.1, 0.2],
    "one of them wrong": [0.0],
    "a tuple": (0.1, 0.2),
    "an array's number": np.float32(0.1),
}
INPUTS = {
    **OBJECTS,
    "ids as a list": {"input_ids": [[1, 2]]},
    "ids alone": {"input_ids": torch.ones(1, 4, dtype=torch.long)},
    "ids of floats": {"input_ids": torch.ones(1, 4)},
    "ids of one dimension": {"input_ids": torch.ones(4).long()},
    "no ids": {"pixel_values": torch.zeros(1, 3, 8, 8)},
    "no rows": {"input_ids": torch.ones(0, 4).long()},
}
CHANGED = {
    "mask shorter": {"attention_mask": torch.ones(1, 2).long()},
    "mask as a list": {"attention_mask": [[1]]},
    "pixels as a list": {"pixel_values": [[1.0]]},
    "pixels of one dimension": {"pixel_values": torch.zeros(9)},
    "pixels of another size": {"pixel_values": torch.zeros(1, 3, 7, 9)},
    "pixels of one channel": {"pixel_values": torch.zeros(1, 1, 224, 224)},
    "pixels of no image": {"pixel_values": None},
    "two images for one": {"pixel_values": torch.zeros(2, 3, 224, 224)},
}
WORDS = {"nothing": "", "capitals": "ORIGINAL", "a word": "magic", "a long one": "a" * 300, "surrogates": bad.SURROGATE}
NAMES = {
    **WORDS,
    "a path": "../base",
    "private": "__init__",
    "None": None,
    "a number": 3,
    "bytes": b"full",
    "true": True,
}
PLACES = {
    **WORDS,
    "a null byte": bad.NUL,
    "a path": "../nowhere",
    "a page": "https://x.org",
    "a folder": "/",
    "a number": 3,
}
IMAGES = {
    **OBJECTS,
    "a missing path": "no.png",
    "a null byte": bad.NUL,
    "empty": Image.new("RGB", (0, 4)),
}
QUESTIONS = {**OBJECTS, "half of a character": "\ud83d", "too long": "what " * 5000}
ONE_BUDGET = {name: value for name, value in BUDGETS.items() if type(value) not in (list, tuple)}
ASKED = {name: value for name, value in NAMES.items() if value is not None}  # None keeps all tokens
CASES = [*ONE_BUDGET, *BUDGETS, *INPUTS, *CHANGED, *NAMES, *ASKED, *PLACES, *WORDS, *IMAGES, *QUESTIONS]
RANDOM = pruners.load("random")


@pytest.fixture(scope="module")
def prompt(vlm):
    return dict(vlm.inputs([Image.new("RGB", (64, 64), "red")], ["What is it?"]))


def refused(call, *arguments, **options):
    with bounded(), pytest.raises(ValueError, match=r"(?s).{15}") as stop:
        call(*arguments, **options)
    return str(stop.value)


@pytest.mark.parametrize("budget", ONE_BUDGET.values(), ids=ONE_BUDGET)
def test_what_is_no_budget_is_refused_with_the_rule(budget):
    assert "a budget is a whole number of tokens (64)" in refused(grip_vlm.Budget.parse, budget)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_an_impossible_budget_is_refused_by_prune(vlm, prompt, budget):
    assert "budget" in refused(RANDOM.prune, vlm.model, prompt, budget=budget)


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_what_is_no_processors_output_is_refused(vlm, inputs):
    message = refused(RANDOM.prune, vlm.model, inputs, 4)
    assert "input" in message or "there is no image to prune" in message


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_inputs_of_another_shape_are_refused(vlm, prompt, changed):
    refused(RANDOM.prune, vlm.model, {**prompt, **changed}, 4)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_unknown_pruner_is_refused_with_those_there_are(name):
    assert "choose from" in refused(grip_vlm.load_pruner, name)


@pytest.mark.parametrize("name", ASKED.values(), ids=ASKED)
def test_an_unknown_pruner_of_an_answer_is_refused(vlm, examples, name):
    assert "pruner" in refused(vlm.answer, examples[0].image, "What?", name, 0.1)


@pytest.mark.parametrize("name", PLACES.values(), ids=PLACES)
def test_an_unknown_vlm_is_refused(name):
    refused(grip_vlm.load_vlm, name)


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_a_word_that_is_not_one_of_a_few_is_refused_with_them(vlm, vlm_dir, prompt, word):
    assert repr(literals.get_args(Positions)[0]) in refused(RANDOM.prune, vlm.model, prompt, 4, positions=word)
    assert repr(literals.get_args(DType)[0]) in refused(vlms.load, str(vlm_dir), dtype=word)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_what_is_no_image_is_refused(vlm, image):
    assert "image" in refused(vlm.answer, image, "What?")


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_what_is_no_question_is_refused(vlm, examples, question):
    assert "question" in refused(vlm.answer, examples[0].image, question)


@pytest.mark.parametrize(
    "call", [grip_vlm.load_pruner, RANDOM.prune, grip_vlm.Budget.parse], ids=["load", "prune", "parse"]
)
def test_an_unknown_argument_is_pythons_own_error(call):
    with pytest.raises(TypeError, match="colour"):
        call("full", colour="red")
