"""A scorer's files that are wrong or do not belong together are refused at once, and nothing of their size is made."""

import json
import os
import tracemalloc
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from grip_vlm import checkpoint
from grip_vlm.checkpoint import Provenance
from grip_vlm.scorer import Scorer, ScorerConfig


@pytest.fixture
def folder(vlm, tmp_path):
    provenance = Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 7, 1.5, 0)
    checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=vlm.dim, width=16)), provenance)
    return tmp_path / "scorer"


def change(folder, part, **values):
    path = folder / "scorer.json"
    notes = json.loads(path.read_text())
    notes[part] |= values
    path.write_text(json.dumps(notes))


SCORER = {
    "dim": ["192", None, 192.0, True, 0, -1],
    "width": ["16", 16.0, [], 10**6, 10**30, -16],
    "heads": [None, 0, 3, 10**30],
    "blocks": ["1", 2.5, 10**9, 10**30],
    "frequencies": [{}, 10**9, 10**30],
    "aversion": ["4", None, -1.0, float("nan"), float("inf"), True],
    "one_pass": [0, "no", None],
    "blind_to": ["everything", None, 3],
    "depth": [3],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in SCORER.items() for v in values])
def test_a_wrong_setting_is_refused_without_allocating(folder, vlm, field, value):
    change(folder, "scorer", **{field: value})
    tracemalloc.start()
    with pytest.raises(ValueError, match="scorer"):
        checkpoint.load(folder, vlm)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("scorer", {"width": "16"}, r"scorer: width must be a whole number, not a text \('16'\)"),
        ("scorer", {"blind_to": "me"}, "scorer: blind_to must be one of 'nothing', 'budget', 'question', not a text"),
        ("scorer", {"depth": 3}, "scorer: the field 'depth' is unknown"),
        ("scorer", {"width": 10**30}, "is too small for the sizes in scorer.json"),
        ("scorer", {"width": 32}, r"by scorer.json, .* must be \(.*\), but it is \(.*\) in scorer.safetensors"),
        ("scorer", {"blocks": 2}, r"blocks\.1\.\S+ must be \(.*\), but it is missing in scorer.safetensors"),
        ("provenance", {"fingerprint": 3}, "provenance: fingerprint must be a text, not a whole number"),
        ("provenance", {"seconds": None}, "provenance: seconds must be a number, not null"),
    ],
)
def test_the_message_names_the_field_and_what_would_be_right(folder, vlm, part, values, message):
    change(folder, part, **values)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(folder, vlm)


def test_what_a_later_version_tells_besides_is_read_over(folder, vlm):
    change(folder, "provenance", weather="fine")
    assert checkpoint.load(folder, vlm).config.width == 16


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": ' * 100_000, " " * 2**21, '{"format": NaN}', '{"a": "\\ud800"}']
)
def test_a_description_that_is_no_plain_object_is_refused(folder, vlm, text):
    (folder / "scorer.json").write_text(text)
    with pytest.raises(ValueError, match=r"scorer\.json is not a scorer's description"):
        checkpoint.load(folder, vlm)


def test_a_pipe_is_not_waited_for(folder, vlm):
    (folder / "scorer.json").unlink()
    os.mkfifo(folder / "scorer.json")
    with pytest.raises(ValueError, match=r"scorer\.json is not a scorer's description: .* is not a file"):
        checkpoint.load(folder, vlm)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weight: (weight * 9).to(torch.int8), r"must hold floating-point numbers, not I8"),
        (lambda weight: weight * float("nan"), "has values that are not finite"),
        (lambda weight: weight[None], r"must be \(\d.*\), but it is \(1, \d.*\)"),
    ],
)
def test_weights_of_another_kind_are_refused(folder, vlm, spoil, message):
    path = folder / "scorer.safetensors"
    save_file({name: spoil(weight).contiguous() for name, weight in load_file(path).items()}, path)
    with pytest.raises(ValueError, match=rf"the weights in .*scorer do not load: .*{message}"):
        checkpoint.load(folder, vlm)


def test_a_scorer_without_weights_has_no_digest(folder):
    (folder / "scorer.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the weights in .*scorer do not load"):
        checkpoint.digest(folder)


def test_the_settings_of_a_scorer_survive(folder, vlm):
    assert asdict(checkpoint.load(folder, vlm).config) == asdict(ScorerConfig(dim=vlm.dim, width=16))
