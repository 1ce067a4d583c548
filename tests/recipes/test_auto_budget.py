"""The recipe on calibrated budgets: its arithmetic on tables made by hand, and on simulations whose truth is known."""

import numpy as np
import pytest
import torch

from auto_budget_curves import head_adequacy
from auto_budget_report import best, guarantee_table, mean_table, shift_table
from auto_budget_rounded import rounded
from auto_budget_splits import (
    Goal,
    Outcome,
    Sweep,
    Trial,
    at_mean,
    certified,
    measured,
    outcome,
    places_of,
    share,
    trials,
)
from auto_budget_warnings import false_warnings
from grip_vlm.sufficiency import Curve, least

GOAL = Goal(0.02, 0.95)
KS = np.array([1, 2, 4, 8])


def sweep(scores):
    count = len(scores)
    return Sweep(np.arange(count).astype(str), np.array(["reading"] * count), KS, np.array(scores, dtype=float))


def simulated(rng, count, needs):
    """Questions that are right from their need of tokens on, and a rule that knows it."""
    need = rng.choice(needs, count)
    scores = (need[:, None] <= KS).astype(float)
    return sweep(scores), (need[:, None] <= KS).astype(float)


def test_a_budget_is_the_least_count_that_is_adequate():
    places = places_of(np.array([[0.1, 0.5, 0.5, 1.0], [0.6, 0.7, 0.8, 1.0]]), np.array([0.9, 0.5, 0.0]))
    assert places.tolist() == [[3, 3, 1, 0], [3, 3, 0, 0]]


def test_the_head_s_budgets_are_those_of_the_package():
    generator = torch.Generator().manual_seed(0)
    level, slope = torch.randn(2, 50, generator=generator).double() * 2
    curve, ks = Curve(level, slope.abs()), np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24])
    prices = np.array([0.001, 0.01, 0.03, 0.1])
    places = places_of(head_adequacy(curve, ks), -prices)[:, 1:]
    for column, price in zip(ks[places].T, prices, strict=True):
        assert column.tolist() == least(curve, 24, price).tolist()


def test_outcomes_are_read_from_the_scores_at_each_budget():
    result = outcome(sweep([[0, 1, 0, 1], [1, 0, 0, 0]]), np.array([[3, 2], [3, 0]]))
    assert result.losses.tolist() == [[0, 1], [0, 0]]
    assert result.drops.tolist() == [[0, 1], [0, -1]]
    assert result.kept.tolist() == [[8, 4], [8, 1]]


def test_a_rule_that_knows_the_need_is_certified_at_the_need_and_a_fixed_budget_is_not():
    table, adequacy = simulated(np.random.default_rng(0), 2000, [1, 8])
    knows = outcome(table, places_of(adequacy, np.array([0.5])))
    fixed = outcome(table, np.tile([3, 2, 1, 0], (2000, 1)))
    knowing, stubborn = (trials(rule, [GOAL], 5)[GOAL] for rule in (knows, fixed))
    assert [trial.tokens for trial in stubborn] == [8.0] * 5
    assert np.mean([trial.tokens for trial in knowing]) == pytest.approx(
        1 + 7 * (table.scores[:, 0] == 0).mean(), abs=0.2
    )
    assert {trial.loss for trial in knowing} == {0.0}


def test_all_methods_keep_all_tokens_where_nothing_is_certified():
    lost = Outcome(np.ones((300, 3)), np.ones((300, 3)), np.ones((300, 3)))
    for goal in (GOAL, Goal(0.02), Goal(0.02, 0.95, signed=True)):
        assert certified(lost, goal) == 0


def test_a_signed_goal_is_certified_by_the_drop_and_another_by_the_loss():
    drops = np.zeros((2000, 2))
    drops[:60, 1], drops[60:120, 1] = 1, -1
    changed = Outcome(drops.clip(min=0), drops, np.tile([8, 1], (2000, 1)))
    assert certified(changed, GOAL) == 0
    assert certified(changed, Goal(0.02, 0.95, signed=True)) == 1


def test_a_trial_is_calibrated_on_one_half_and_measured_on_the_other():
    """The cheaper threshold passes where calibration has none of the four lost questions, so the test half has all."""
    losses = np.zeros((400, 2))
    losses[:4, 1] = 1
    made = trials(Outcome(losses, losses, np.tile([8, 1], (400, 1))), [Goal(0.015, 0.95)], 400)[Goal(0.015, 0.95)]
    assert {(trial.tokens, trial.loss, trial.bounded) for trial in made} == {(8.0, 0.0, 0.0), (1.0, 4 / 200, 4 / 400)}


def test_the_share_of_splits_has_the_exact_interval():
    assert share(0, 500) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 500)))
    value, low, high = share(25, 500)
    assert low < value < high


def test_the_threshold_of_a_mean_is_the_largest_within_it():
    kept = np.array([[8, 4, 2, 1], [8, 8, 2, 1]])
    assert at_mean(Outcome(kept * 0.0, kept * 0.0, kept), 3) == 2
    assert at_mean(Outcome(kept * 0.0, kept * 0.0, kept), 0.5) is None


def test_the_setting_of_a_rival_is_the_one_with_the_fewest_tokens():
    few, many = [Trial(3, 0, 0, 0)], [Trial(5, 0, 0, 0)]
    assert best({"top-p, 2%": many, "top-p, 10%": few, "fixed k": many}) == {
        "top-p": "top-p, 10%",
        "fixed k": "fixed k",
    }


def test_tables_say_what_was_simulated():
    table, adequacy = simulated(np.random.default_rng(1), 1000, [1, 8])
    by_rule = {
        "fixed k": outcome(table, np.tile([3, 2, 1, 0], (1000, 1))),
        "knows": outcome(table, places_of(adequacy, np.array([0.5]))),
    }
    results = {rule: trials(of_rule, [GOAL], 20) for rule, of_rule in by_rule.items()}
    first, second = guarantee_table(results, GOAL)[-2:]
    assert first.startswith("| knows | 4.4 | -45% | 0.00 | 0.0% [0.0%, ")
    assert second.startswith("| fixed k | 8.0 | +0% | 0.00 |")
    assert measured(by_rule["knows"], 1, GOAL).drop == 0
    assert not any("knows" in line for line in mean_table(table, by_rule))  # it has no threshold with one token


def test_a_broken_promise_is_told():
    """Calibrated where one token is enough, used where eight are needed."""
    easy, hard = sweep(np.ones((500, 4))), sweep(np.tile([0, 0, 0, 1], (500, 1)))
    level = np.random.default_rng(0).normal(size=500)
    curves = {"nats": np.zeros(500), "level": level, "slope": np.ones(500)}
    other = curves | {"level": level + 1}
    gathered = {"reading": (easy, curves), "choice": (easy, curves), "reading:crowded": (hard, other)}
    lines = shift_table(gathered, "fixed k", (0.0, 1.0), GOAL)
    assert lines[2].startswith("| the six tasks | crowded scenes of all six | 1.0 | 100.00 | [100.00, 100.00] | no |")
    assert lines[2].endswith("| after 100 questions |")
    assert [line.split("|")[3].strip() for line in lines[3:5]] == ["1.0", "1.0"]
    row = "| the other five tasks | reading | 1.0 | 0.00 | [0.00, 0.00] | yes | none in 500 questions |"
    assert lines[3] == row


def test_questions_of_one_kind_give_no_false_warnings():
    level = np.random.default_rng(0).normal(size=1000)
    assert " 0 of 20 splits" in false_warnings({"level": level, "slope": np.ones(1000)}, 20)


def test_rounded_weights_have_few_values_in_each_row():
    weight = torch.randn(3, 4096, generator=torch.Generator().manual_seed(0))
    assert all(len(row.unique()) in (6, 7) for row in rounded(weight, 3))  # 3 on the side of the largest, 2 or 3 beyond
    assert (rounded(weight, 8) - weight).abs().max() <= weight.abs().amax() / 254 + 1e-6
