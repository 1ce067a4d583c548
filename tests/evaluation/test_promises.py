"""Promises from a sweep whose losses are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grip_vlm.evaluation import promises
from grip_vlm.evaluation.promises import PRICES, Settings, by_image, by_price, drops
from grip_vlm.evaluation.sweep import Sweep
from grip_vlm.sufficiency import Curve, least, steps


def sweep_of(needs, n=20):
    """Questions that are right from `needs` tokens on, and whose answer is the full one from there on."""
    counts = torch.tensor([steps(n)] * len(needs))
    right = (counts >= torch.tensor(needs)[:, None]).float()
    full = torch.ones(len(needs))
    tokens = torch.full((len(needs),), 2)
    images = [str(i) for i in range(len(needs))]
    return Sweep(torch.zeros(len(needs), 4), torch.full((len(needs),), n), counts, full, right, right, tokens, images)


def curve_of(needs):
    """A curve that rises sharply at each question's need."""
    slope = torch.full((len(needs),), 6.0).double()
    return Curve(-slope * (torch.tensor(needs).double() - 0.5).clamp(min=0.5).log(), slope)


NEEDS = [1] * 300 + [4] * 100 + [12] * 100
SETTINGS = Settings((0.1,), 0.95, False, "scenes")


def test_what_a_question_gets_in_calibration_is_what_it_gets_later():
    held, curve = sweep_of(NEEDS), curve_of(NEEDS)
    _, share = by_price(held.losses(False), held, curve)
    for place in (0, 10, 40, 61):
        assert (share[:, place] * 20).round().tolist() == least(curve, 20, PRICES[place]).tolist()


def test_the_first_price_keeps_everything_and_costs_nothing():
    held = sweep_of(NEEDS)
    losses, share = by_price(held.losses(False), held, curve_of(NEEDS))
    assert (losses[:, 0] == 0).all()
    assert (share[:, 0] == 1).all()


def test_a_promise_holds_on_the_questions_it_was_made_from_and_saves_tokens():
    tested, controlled = promises.promises(sweep_of(NEEDS), curve_of(NEEDS), SETTINGS)
    assert (tested.method, controlled.method) == ("learn_then_test", "conformal_risk_control")
    assert tested.loss < 0.1 >= controlled.loss
    assert tested.kept < 0.35
    assert (tested.confidence, controlled.confidence) == (0.95, None)


def test_answers_that_pruning_corrects_count_where_the_accuracy_itself_is_promised():
    held = sweep_of(NEEDS)
    wrong = torch.arange(len(NEEDS)) % 4 == 0  # the full answer of these is wrong, and the one from few tokens right
    score = torch.where(wrong[:, None], 1 - held.score, held.score)
    corrected = replace(held, full=held.full - wrong.float(), score=score)
    same = Curve(torch.zeros(len(NEEDS)).double(), torch.ones(len(NEEDS)).double())  # all get the same count
    (signed,) = promises.promises(corrected, same, Settings((0.3,), 0.95, False, "scenes", signed=True))
    clipped, _ = promises.promises(corrected, same, Settings((0.3,), 0.95, False, "scenes"))
    # From one token 30 % of the answers are spoiled and 10 % corrected.
    assert (signed.method, signed.confidence) == ("betting", 0.95)
    assert (signed.loss, signed.kept) == pytest.approx((0.2, 0.05))
    assert clipped.kept > 0.06


def test_corrected_answers_are_unknown_without_labels():
    with pytest.raises(ValueError, match="signed needs labels"):
        Settings((0.02,), 0.95, True, "scenes", signed=True)


def test_label_free_losses_are_changed_answers():
    held = sweep_of(NEEDS)
    free = Sweep(
        held.seen, held.n, held.counts, held.full * 0, held.score * 0, held.same, held.answer_tokens, held.images
    )
    assert (free.losses(False) == 0).all()  # nothing was right
    assert torch.equal(free.losses(True), 1 - held.same)


def test_questions_about_one_image_count_once():
    losses = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    assert by_image(losses, ["a", "a", "b"]).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_too_few_images_are_refused_before_anything_runs(examples):
    with pytest.raises(ValueError, match="it takes at least 149"):
        Settings((0.02,), 0.95, False, "scenes").refuse_few(examples)


def test_drops_are_read_as_they_are_written():
    assert drops("0.02, 1%") == (0.02, 0.01)


@pytest.mark.parametrize("text", ["", "x", "0.02,,0.01", "1/0"])
def test_other_texts_are_no_drops(text):
    with pytest.raises(ValueError, match="drops are numbers"):
        drops(text)


@pytest.mark.parametrize("drop", [0.0, 1.0, -0.1])
def test_an_impossible_drop_is_refused(drop):
    with pytest.raises(ValueError, match="max_drop"):
        Settings((drop,), 0.95, False, "scenes")
