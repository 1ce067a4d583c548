"""A scorer's folder is refused if a field, a size or a weight is wrong, and nothing of its sizes is allocated."""

import json
import shutil
from dataclasses import fields
from typing import Literal, get_origin

import pytest
import torch
from battery.conftest import bounded
from safetensors.torch import load_file, save, save_file
from toolkit import bad

from grip_vlm import checkpoint, vlms
from grip_vlm.checkpoint import Provenance
from grip_vlm.registry import PACKAGE
from grip_vlm.scorer import ScorerConfig

SHIPPED = PACKAGE / "assets" / "tiny-llava" / "scorer"
NOTES = json.loads((SHIPPED / "scorer.json").read_text())
WEIGHTS = load_file(SHIPPED / "scorer.safetensors")
LARGEST = max(WEIGHTS, key=lambda name: WEIGHTS[name].numel())


def right_types(field):
    kind = str if get_origin(field.type) is Literal else get_origin(field.type) or field.type
    return (int, float) if kind is float else (kind,)


TYPES = [
    pytest.param(part, field.name, value, id=f"{part} {field.name} as {name}")
    for part, cls in (("scorer", ScorerConfig), ("provenance", Provenance))
    for field in fields(cls)
    for name, value in bad.of_other_types(*right_types(field)).items()
]
SIZES = [
    pytest.param(field.name, value, id=f"{field.name} {name}")
    for field in fields(ScorerConfig)
    if field.type is int
    for name, value in {"zero": 0, "negative": -2, "a million": 10**6, "a thousand digits": 10**1000}.items()
]
OTHERS = {"aversion negative": {"aversion": -1.0}, "blind to a word": {"blind_to": "magic"}, "more": {"depth": 3}}
FORMATS = {name: value for named in bad.JSON_OF_TYPE.values() for name, value in named.items()}


def of_weights(change):
    weights = {name: value.clone() for name, value in WEIGHTS.items()}
    return save(change(weights) or weights)


def spoil(number):
    def change(weights):
        weights[LARGEST].view(-1)[-1] = number

    return of_weights(change)


RAW = (SHIPPED / "scorer.safetensors").read_bytes()
FILES = {
    "empty": b"",
    "half": RAW[: len(RAW) // 2],
    "without its last byte": RAW[:-1],
    "with a byte more": RAW + b"x",
    "words": b"hello",
    "zeros": bytes(10_000),
    "a header of gigabytes": (2**60).to_bytes(8, "little") + RAW[8:],
    "a pickle": b"\x80\x04" + b"}." * 10,
    "no tensors": save({}),
    "eight-bit numbers": of_weights(lambda w: {name: (value * 10).to(torch.int8) for name, value in w.items()}),
    "whole numbers": of_weights(lambda w: {name: value.long() for name, value in w.items()}),
    "transposed": of_weights(
        lambda w: {name: value.t().contiguous() if value.ndim == 2 else value for name, value in w.items()}
    ),
    "other names": of_weights(lambda w: {f"module.{name}": value for name, value in w.items()}),
    "one missing": of_weights(lambda w: {name: value for name, value in w.items() if name != LARGEST}),
    "one more": of_weights(lambda w: {**w, "more": torch.zeros(3)}),
    "one flat": of_weights(lambda w: {**w, LARGEST: w[LARGEST].flatten()}),
    "one not a number": spoil(float("nan")),
    "one infinite": spoil(float("-inf")),
}
FLIPS = range(0, 2000, 100)  # bytes of the header
CASES = [*TYPES, *SIZES, *OTHERS, *FORMATS, *bad.NOT_JSON, *FILES, *FLIPS]


@pytest.fixture(scope="module")
def shipped():
    return vlms.load("tiny-llava", device="cpu")


@pytest.fixture
def scorer(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "scorer")


@pytest.fixture
def refusal(scorer, shipped):
    """The message with which the scorer is refused."""

    def load():
        with bounded(), pytest.raises(ValueError, match=str(scorer)) as stop:
            checkpoint.load(scorer, shipped)
        return str(stop.value)

    return load


def describe(folder, **notes):
    (folder / "scorer.json").write_text(json.dumps({**NOTES, **notes}))


@pytest.mark.parametrize(("part", "field", "value"), TYPES)
def test_a_field_of_another_type_is_named(scorer, refusal, part, field, value):
    describe(scorer, **{part: {**NOTES[part], field: value}})
    assert f"{part}: {field} must be " in refusal()


@pytest.mark.parametrize(("field", "value"), SIZES)
def test_an_impossible_size_is_refused_unallocated(scorer, refusal, field, value):
    describe(scorer, scorer={**NOTES["scorer"], field: value})
    assert {"dim": "width"}.get(field, field) in refusal()


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_an_impossible_setting_is_named(scorer, refusal, changed):
    describe(scorer, scorer={**NOTES["scorer"], **changed})
    assert next(iter(changed)) in refusal()


@pytest.mark.parametrize("value", FORMATS.values(), ids=FORMATS)
def test_another_format_is_refused(scorer, refusal, value):
    describe(scorer, format=value)
    assert "format" in refusal()


@pytest.mark.parametrize("text", bad.NOT_JSON.values(), ids=bad.NOT_JSON)
def test_a_description_that_is_no_object_is_refused(scorer, refusal, text):
    (scorer / "scorer.json").write_bytes(text)
    assert "is not a scorer's description" in refusal()


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_weights_that_do_not_belong_to_the_description_are_refused(scorer, refusal, content):
    (scorer / "scorer.safetensors").write_bytes(content)
    assert "do not load" in refusal()


@pytest.mark.parametrize("place", FLIPS)
def test_a_flipped_bit_of_the_header_is_refused_or_changes_nothing(scorer, shipped, place):
    """A bit inside of a tensor's metadata may be harmless; a crash or a weight of another shape is not."""
    raw = bytearray(RAW)
    raw[place] ^= 1
    (scorer / "scorer.safetensors").write_bytes(raw)
    with bounded():
        try:
            loaded = checkpoint.load(scorer, shipped)
        except ValueError as error:
            assert str(scorer) in str(error)  # noqa: PT017 - no error is right as well
        else:
            assert {name: value.shape for name, value in loaded.state_dict().items()} == {
                name: value.shape for name, value in WEIGHTS.items()
            }


@pytest.mark.parametrize(
    "how", ["missing weights", "a folder as weights", "wrong weights", "no description", "a number"]
)
def test_the_command_line_names_the_folder(folder, refused, how):
    scorer = shutil.copytree(SHIPPED, folder / "scorer")
    if how == "no description":
        (scorer / "scorer.json").unlink()
    elif how == "a number":
        describe(scorer, scorer=7)
    else:
        (scorer / "scorer.safetensors").unlink()
        if how == "a folder as weights":
            (scorer / "scorer.safetensors").mkdir()
        elif how == "wrong weights":
            save_file({"a": torch.zeros(2)}, scorer / "scorer.safetensors")
    refused(["answer", "--image", "scene.png", "--question", "What?", "--scorer", "scorer"], "scorer")
