"""A calibration on disk: it comes back, belongs to one scorer and one VLM, and promises no more than it holds."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from toolkit.training import fresh_scorer

from grip_vlm import calibration, checkpoint
from grip_vlm.calibration import Calibration, Promise
from grip_vlm.errors import LocalError
from grip_vlm.goals import Auto
from grip_vlm.sufficiency import Curve, Head

PROMISES = [
    Promise(0.02, 0.95, 0.01, "learn_then_test", 0.011, 0.05),
    Promise(0.01, 0.9, 0.001, "learn_then_test", 0.004, 0.1),
    Promise(0.01, None, 0.5, "conformal_risk_control", 0.008, 0.07),
]


@pytest.fixture
def folder(vlm, tmp_path):
    """A scorer with a calibration."""
    provenance = checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 0, 0.0, 0)
    checkpoint.save(tmp_path / "scorer", fresh_scorer(vlm), provenance)
    write(vlm, tmp_path / "scorer", PROMISES)
    return tmp_path / "scorer"


def write(vlm, folder, promises, /, **changes):
    torch.manual_seed(1)
    notes = Calibration(
        checkpoint.digest(folder), "", vlm.name, vlm.fingerprint(), "scenes", "dev", "0" * 16, 9, 9, 9, False, 5, []
    )
    reference = Curve(torch.arange(4).double(), torch.ones(4).double())
    return calibration.write(folder, Head(16), reference, replace(notes, **changes).with_promises(promises))


def test_a_calibration_comes_back(vlm, folder):
    loaded = calibration.load(folder, vlm)
    assert loaded.notes.promised() == PROMISES
    assert loaded.reference.level.tolist() == [0, 1, 2, 3]
    torch.manual_seed(1)
    assert torch.equal(loaded.head.inner.weight, Head(16).inner.weight)


@pytest.mark.parametrize(
    ("goal", "price"),
    [
        (Auto(), 0.01),  # the first promise
        (Auto(0.02), 0.01),
        (Auto(0.05), 0.01),  # a smaller drop is as good
        (Auto(0.02, 0.9), 0.01),  # a higher confidence is as good
        (Auto(0.01, 0.9), 0.001),
    ],
)
def test_a_goal_gets_the_highest_price_that_keeps_it(vlm, folder, goal, price):
    assert calibration.load(folder, vlm).price(goal, "") == price


def test_a_promise_of_the_accuracy_itself_goes_first(vlm, folder):
    write(vlm, folder, [*PROMISES, Promise(0.02, 0.95, 0.003, "betting", 0.015, 0.03)])
    calibrated = calibration.load(folder, vlm)
    assert calibrated.price(Auto(0.02), "") == 0.003  # whatever the prices are
    assert calibrated.price(Auto(), "") == 0.01  # still the first


@pytest.mark.parametrize("goal", [Auto(0.01), Auto(0.005, 0.5), Auto(0.02, 0.99)])
def test_what_was_not_promised_is_refused_with_what_was(vlm, folder, goal):
    with pytest.raises(ValueError, match=re.escape(f"budget {goal}; its promises are: auto:0.02:0.95, auto:0.01:0.9")):
        calibration.load(folder, vlm).price(goal, "")


def test_a_scorer_without_calibration_names_the_command(vlm, folder):
    (folder / "calibration.json").unlink()
    wanted = f"grip-vlm calibrate --scorer {folder} --vlm {vlm.name} --data DATA --max-drop 0.01 --confidence 0.9`"
    with pytest.raises(ValueError, match=re.escape(wanted)):
        calibration.load(folder, vlm, Auto(0.01, 0.9))


def test_a_calibration_of_other_weights_is_refused(vlm, folder, tmp_path):
    other = fresh_scorer(vlm)
    with torch.no_grad():
        other.keys.weight.add_(1)
    kept = {name: (folder / name).read_bytes() for name in (calibration.HEAD, calibration.NOTES)}
    checkpoint.save(folder, other, checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "grip", 0, 0.0, 0))
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="other weights of the scorer"):
        calibration.load(folder, vlm)


def test_training_a_scorer_anew_removes_its_calibration(vlm, folder):
    checkpoint.save(folder, fresh_scorer(vlm), checkpoint.Provenance("", "", "", "", 0, 0.0, 0))
    assert calibration.read_notes(folder) is None


def test_a_calibration_for_another_vlm_is_refused(vlm, folder):
    write(vlm, folder, PROMISES, fingerprint="llava-0-0-0", vlm="another")
    with pytest.raises(ValueError, match="for 'another'"):
        calibration.load(folder, vlm)


def test_a_head_that_is_not_the_calibrations_is_refused(vlm, folder, tmp_path):
    shutil.copy(folder / "scorer.safetensors", folder / calibration.HEAD)
    with pytest.raises(ValueError, match=r"not the file that calibration\.json names"):
        calibration.load(folder, vlm)


@pytest.mark.parametrize(
    "harm",
    [
        lambda vlm, folder: (folder / calibration.NOTES).unlink(),
        lambda vlm, folder: (folder / calibration.NOTES).write_text("{}"),
        lambda vlm, folder: (folder / calibration.HEAD).unlink(),
        lambda vlm, folder: write(vlm, folder, PROMISES, scorer="0" * 8),
        lambda vlm, folder: write(vlm, folder, PROMISES, fingerprint="llava-0-0-0", vlm="/models/another"),
    ],
)
def test_the_plain_part_of_an_error_names_no_file(vlm, folder, harm):
    harm(vlm, folder)
    with pytest.raises(LocalError, match=str(folder)) as error:
        calibration.load(folder, vlm)
    assert "/" not in error.value.plain


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda notes: notes.pop("items"), "'items' is missing"),
        (lambda notes: notes.update(format=9), "not of format 1"),
        (lambda notes: notes["promises"][0].update(price="cheap"), "price must be"),
        (lambda notes: notes["promises"][0].update(price=-1), "price must be at least 0"),
        (lambda notes: notes["promises"][0].update(method="hope"), "method must be one of"),
    ],
)
def test_broken_notes_are_refused_by_field(vlm, folder, change, reason):
    path = folder / calibration.NOTES
    notes = json.loads(path.read_text())
    change(notes)
    path.write_text(json.dumps(notes))
    with pytest.raises(ValueError, match=reason):
        calibration.load(folder, vlm)


def test_promises_on_the_same_questions_add_up(vlm, folder):
    new = Promise(0.05, 0.95, 0.03, "learn_then_test", 0.03, 0.02)
    assert write(vlm, folder, [new]).promised() == [*PROMISES, new]


def test_promises_on_other_questions_are_dropped(vlm, folder):
    new = Promise(0.05, 0.95, 0.03, "learn_then_test", 0.03, 0.02)
    assert write(vlm, folder, [new], data_digest="1" * 16).promised() == [new]


def test_the_digest_tells_calibrations_apart(vlm, folder):
    before = calibration.digest(folder)
    write(vlm, folder, PROMISES[:1], items=10)
    assert before != calibration.digest(folder) != ""
    (folder / calibration.NOTES).unlink()
    assert calibration.digest(folder) == ""
