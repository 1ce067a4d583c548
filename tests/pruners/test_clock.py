"""A time becomes the most tokens that fit: by enumeration on a curve that is known, and measured on a clock that is."""

import itertools
import json
from types import SimpleNamespace

import pytest

from grip_vlm import pruners
from grip_vlm.pruners.clock import CostCurve, curve_of, measure

CURVE = CostCurve(196, 0.008, [30, 50, 226], [0.004, 0.006, 0.02], [0.001, 0.001, 0.002])


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Curves are stored in the user's cache folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def store(home, vlm):
    """A curve that is stored for the pruner `random`, in place of a measured one."""

    def write(curve):
        curve_of(vlm, pruners.load("random"))
        (path,) = (home / ".cache" / "grip-vlm" / "cost").glob("*.json")
        stored = json.loads(path.read_text())
        stored["curve"].update(curve)
        path.write_text(json.dumps(stored))
        return path

    return write


def test_seconds_lie_between_those_measured_by_hand():
    assert CURVE.seconds(196, 40, 1) == pytest.approx(0.008 + 0.005)
    assert CURVE.seconds(196, 50, 4) == pytest.approx(0.008 + 0.006 + 3 * 0.001)


def test_beyond_what_was_measured_seconds_grow_with_the_length():
    assert CURVE.seconds(392, 452, 2) == pytest.approx(2 * 0.008 + 2 * 0.02 + 2 * 0.002)


@pytest.mark.parametrize("seconds", [0.005, 0.0125, 0.0131, 0.02, 0.025, 1.0])
@pytest.mark.parametrize("new_tokens", [1, 5])
def test_the_most_tokens_that_fit_by_enumeration(seconds, new_tokens):
    fitting = [k for k in range(1, 197) if CURVE.seconds(196, 30 + k, new_tokens) <= seconds]
    assert CURVE.most(seconds, 196, 30, new_tokens) == max(fitting, default=0)


def test_what_is_measured_is_the_slow_end_of_the_rounds(vlm):
    """A clock that goes on by a millisecond at every look: the tower takes one, and the answer another."""
    ticks = itertools.count()
    curve = measure(vlm, pruners.load("random"), clock=lambda: next(ticks) / 1000)
    assert curve.before == pytest.approx(0.001)
    assert curve.first == pytest.approx([0.001] * len(curve.lengths))
    assert curve.step == [0.0] * len(curve.lengths)
    assert curve.tokens == 196
    assert curve.lengths[-1] - curve.lengths[0] == 195


@pytest.mark.slow
def test_a_curve_is_measured_once_and_stored(home, vlm, capsys):
    first = curve_of(vlm, pruners.load("random"))
    assert "measuring once" in capsys.readouterr().err
    assert curve_of(vlm, pruners.load("random")) == first
    assert capsys.readouterr().err == ""
    assert len(list((home / ".cache" / "grip-vlm" / "cost").iterdir())) == 1


@pytest.mark.slow
def test_a_broken_curve_is_named(store, vlm):
    path = store({"tokens": "many"})
    with pytest.raises(ValueError, match=f"{path} is not a cost curve: tokens must be"):
        curve_of(vlm, pruners.load("random"))


@pytest.mark.slow
def test_an_answer_gets_the_most_tokens_that_fit_its_time(store, vlm, examples):
    store({"before": 0.01, "lengths": [1, 1000], "first": [0.0, 0.1], "step": [0.0, 0.0]})
    scene, pruner = examples[0], pruners.load("random")
    answer = vlm.answer(scene.image, scene.question, pruner, "20ms", max_new_tokens=1)
    text = int(vlm.inputs([scene.image], [scene.question])["attention_mask"].sum()) - 196
    assert answer.kept == int(1 + 0.01 / 0.1 * 999) - text
    assert vlm.answer(scene.image, scene.question, pruner, "1s", max_new_tokens=1).kept == 196


@pytest.mark.slow
def test_a_time_below_one_token_is_refused(store, vlm, examples):
    store({"before": 0.01})
    with pytest.raises(ValueError, match=r"the budget 5\.0ms is below what one visual token takes here"):
        vlm.answer(examples[0].image, examples[0].question, pruners.load("random"), "5ms", max_new_tokens=1)


def test_without_a_processor_nothing_can_be_measured(home, vlm):
    bare = SimpleNamespace(model=vlm.model, processor=None, fingerprint=vlm.fingerprint, device=vlm.device, name="bare")
    with pytest.raises(ValueError, match="needs a VLM with its processor"):
        curve_of(bare, pruners.load("random"))


@pytest.mark.slow
def test_inputs_alone_do_not_say_how_long_an_answer_is(store, vlm, examples):
    store({})
    inputs = vlm.inputs([examples[0].image], [examples[0].question])
    with pytest.raises(ValueError, match="depends on how long answers are"):
        pruners.load("random").prune(vlm, inputs, "20ms")


@pytest.mark.slow
def test_inputs_for_answers_of_a_known_length_get_what_such_an_answer_gets(store, vlm, examples):
    store({"before": 0.01, "lengths": [1, 1000], "first": [0.0, 0.1], "step": [0.002, 0.002]})
    inputs = vlm.inputs([examples[0].image], [examples[0].question])
    answer = vlm.answer(examples[0].image, examples[0].question, pruners.load("random"), "25ms", max_new_tokens=3)
    pruned = pruners.load("random").prune(vlm, inputs, "25ms", new_tokens=3)
    assert int(inputs["attention_mask"].sum() - pruned["attention_mask"].sum()) == 196 - answer.kept > 0
