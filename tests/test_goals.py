"""A goal is read as it is written, prints so that it reads back, and impossible numbers are refused early."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch

from grip_vlm.allot import allot
from grip_vlm.budget import Budget
from grip_vlm.goals import Auto, Mean, Within


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("auto", Auto()),
        (" auto ", Auto()),
        ("auto:0.02", Auto(0.02, 0.95)),
        ("auto:2%", Auto(0.02, 0.95)),
        ("auto:0.01:0.9", Auto(0.01, 0.9)),
        ("mean:5%", Mean(Fraction(1, 20), 100)),
        ("mean:0.05/32", Mean(Fraction(1, 20), 32)),
        ("20ms", Within(Fraction(1, 50))),
        ("0.5s", Within(Fraction(1, 2))),
        ("0.5 s", Within(Fraction(1, 2))),
    ],
)
def test_a_goal_is_read_as_it_is_written(text, goal):
    assert Budget.parse(text) == Budget(goal=goal)
    assert Budget.parse(str(Budget.parse(text))) == Budget(goal=goal)


def test_the_names_in_python_are_the_texts():
    assert Budget.auto() == Budget.auto(max_drop=0.02, confidence=0.95) == Budget.parse("auto:0.02")
    assert Budget.mean("5%") == Budget.mean(0.05) == Budget.parse("mean:5%")
    assert Budget.mean(0.05, window=32) == Budget.parse("mean:5%/32")
    assert Budget.within(0.02) == Budget.parse("20ms")


@pytest.mark.parametrize(
    "text",
    ["auto:0", "auto:1", "auto:-0.1", "auto:2", "auto:0.02:1", "auto:0.02:0", "auto:", "auto:x", "autos", "mean:0",
     "mean:0%", "mean:101%", "mean:5%/0", "mean:", "mean", "0ms", "-20ms", "ms", "20m", "1e999s"],
)  # fmt: skip
def test_an_impossible_goal_is_refused_with_what_a_budget_is(text):
    with pytest.raises(ValueError, match="whole number of tokens"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["auto", "mean:5%", "20ms"])
def test_a_goal_is_no_function_of_the_number_of_tokens(text):
    with pytest.raises(ValueError, match="no function of the number of tokens"):
        Budget.parse(text).k(576)


def encoded(*counts):
    return SimpleNamespace(state=SimpleNamespace(counts=torch.tensor(counts)))


def test_exact_budgets_are_counted_without_the_selector():
    budgets = [Budget.parse("64"), Budget.parse("10%"), Budget.parse(1.0)]
    assert allot(budgets, None, None, encoded(576, 576, 30)).tolist() == [64, 58, 30]


def test_a_selector_that_only_selects_cannot_meet_a_goal():
    with pytest.raises(ValueError, match="cannot meet the budget auto"):
        allot([Budget.parse("auto")], SimpleNamespace(select=None), None, encoded(576))


def test_the_selector_meets_the_goals_of_a_batch():
    def meet(vlm, encoded, budgets, new_tokens):
        return encoded.state.counts.new_tensor([7 if budget.goal else budget.k(9) for budget in budgets]) + new_tokens

    budgets = [Budget.parse("auto"), Budget.parse("3")]
    assert allot(budgets, SimpleNamespace(allot=meet), None, encoded(9, 9), 1).tolist() == [8, 4]


def test_there_is_one_budget_for_each_question():
    with pytest.raises(ValueError, match="1 budgets for 2 questions"):
        allot([Budget.parse("3")], None, None, encoded(9, 9))
