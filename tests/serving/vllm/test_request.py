"""What requests and servers may say to the vLLM plug-in."""

import pytest

from grip_vlm.budget import Budget
from grip_vlm.serving.vllm.request import Request
from grip_vlm.serving.vllm.settings import Settings


def parse(has_scorer=True, default="100%", **given):
    return Request.parse(given, default, has_scorer)


def test_a_request_that_says_nothing_gets_the_budget_of_the_server():
    assert parse(default="5%").budget == Budget.parse("5%")


def test_the_budget_of_a_request_goes_before_that_of_the_server():
    assert parse(default="5%", budget=7).budget == Budget.parse(7)


@pytest.mark.parametrize("everything", ["100%", 1.0, "1.0"])
def test_all_tokens_are_no_budget(everything):
    assert parse(budget=everything).budget is None


@pytest.mark.parametrize("goal", ["auto", "auto:0.02", "mean:5%", "20ms"])
def test_goals_are_refused_with_the_reason(goal):
    with pytest.raises(ValueError, match="only the question is known"):
        parse(budget=goal)


@pytest.mark.parametrize("bad", ["0%", "101%", "lots", 0, -3, 1.5, None, [1], {"a": 1}, True, float("nan")])
def test_an_impossible_budget_is_refused(bad):
    with pytest.raises(ValueError, match="budget"):
        parse(budget=bad)


@pytest.mark.parametrize("keyword", ["budgets", "size", "grip", "max_pixels"])
def test_every_other_keyword_is_refused(keyword):
    with pytest.raises(ValueError, match=f"unknown mm_processor_kwargs {keyword}; known are budget and question"):
        parse(**{keyword: 1})


@pytest.mark.parametrize("question", [7, None, ["why"], "\ud800"])
def test_a_question_that_is_no_text_is_refused(question):
    with pytest.raises(ValueError, match="question"):
        parse(question=question)


def test_without_a_scorer_a_budget_is_refused_and_all_tokens_are_not():
    with pytest.raises(ValueError, match="no scorer"):
        parse(has_scorer=False, budget="5%")
    assert parse(has_scorer=False, budget="100%").budget is None


class Config:
    def __init__(self, grip):
        self.grip = grip


@pytest.mark.parametrize(
    ("grip", "message"),
    [
        ({"scorers": "x"}, "scorer and budget"),
        ("tiny-llava", "scorer and budget"),
        ({"budget": "5%"}, "needs a scorer"),
        ({"scorer": 3}, "scorer"),
        ({"scorer": "tiny-llava", "budget": "lots"}, "budget"),
        ({"scorer": "tiny-llava", "budget": "auto"}, "only the question is known"),
    ],
)
def test_impossible_settings_of_a_server_are_refused(grip, message):
    with pytest.raises(ValueError, match=message):
        Settings.of(Config(grip))


def test_a_server_without_settings_prunes_nothing():
    assert Settings.of(object()) == Settings(scorer=None, budget="100%")
