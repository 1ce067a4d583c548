"""The larger world is worth pruning: neither words alone nor one patch answer it, and the evidence does."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from grip_vlm.benchmarks.spread import GRID, TASKS, Question, ask
from grip_vlm.benchmarks.spread.observer import Prior, blind, certain, chance, seen_by_chance

pytestmark = pytest.mark.slow

KS = (0, 1, 2, 4, 8, 16, 32)


@cache
def asked(task, split="dev", count=200):
    return [ask(task, split, index)[1] for index in range(count)]


@cache
def prior(task):
    return Prior.of(asked(task, "train"))


def mean(score, *arguments):
    """Over items and then over tasks."""
    return np.mean([np.mean([score(q, *arguments, prior(task)) for q in asked(task)]) for task in TASKS])


def question(kind, answer, units, task="perception", text="", pointers=0):
    return Question(text, answer, task, kind, tuple((i,) for i in range(units)), ((99,),) * pointers)


def test_without_a_patch_less_than_30_percent_are_right():
    assert mean(blind) < 0.30


def test_with_one_patch_less_than_35_percent_are_right():
    assert mean(chance, 1) < 0.35


def test_more_patches_help_in_the_mean_until_all_is_seen():
    curve = [mean(chance, k) for k in KS]
    assert all(one + 0.02 < other for one, other in pairwise(curve[:5]))
    assert curve[-1] == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_with_its_own_number_of_patches_and_one_more_each_question_is_answered(task):
    assert {chance(q, q.sufficient + 1, prior(task)) for q in asked(task)} == {1.0}


@pytest.mark.parametrize("task", TASKS)
def test_one_who_does_not_trust_needs_the_pointers_too(task):
    for q in asked(task):
        assert certain(q, q.certain + 1, prior(task)) == 1.0
        assert certain(q, len(q.pointers), prior(task)) == blind(q, prior(task))


def test_a_count_below_the_number_of_patches_is_known_and_others_are_guessed():
    known = Prior.of([question("count", str(n), n) for n in (1, 5, 5, 7)])
    assert [chance(question("count", "3", 3), k, known) for k in (3, 4)] == [0.0, 1.0]
    assert [chance(question("count", "5", 5), k, known) for k in (0, 2, 5, 6)] == [1.0] * 4
    assert [chance(question("count", "7", 7), k, known) for k in (2, 6, 7)] == [0.0, 1.0, 1.0]


def test_each_digit_of_a_number_that_is_not_shown_is_one_of_ten():
    read = question("ink", "427", 3, "reading")
    assert [chance(read, k, Prior()) for k in (1, 2, 3)] == pytest.approx([0.01, 0.1, 1.0])


def test_the_letters_that_leave_the_fewest_words_are_shown_first():
    chances = [chance(question("ink", "handlebars", 10, "reading"), k, Prior()) for k in (1, 2, 10)]
    assert 1 / 60 < chances[0] < chances[1] <= chances[2] == 1.0


def test_of_two_things_both_have_to_be_seen():
    both = [question("both", answer, units, "presence") for answer, units in (("yes", 2), ("no", 1))]
    assert [[chance(q, k, Prior()) for q in both] for k in (1, 2)] == [[0.5, 0.5], [1.0, 1.0]]


def test_an_option_of_a_choice_is_out_once_more_is_seen_than_it_says():
    text = "How many stars are there? a) 4 b) 2 c) 5 d) 3"
    few = question("count", "d", 3, "choice", text)
    assert [chance(few, k, Prior()) for k in (0, 1, 3, 4)] == pytest.approx([0.25, 0.25, 1 / 3, 1.0])


def test_patches_drawn_by_chance_have_to_touch_all_of_the_evidence():
    known = Prior.of([question("count", "9", 9)])
    q = question("count", "2", 2, pointers=1)
    assert seen_by_chance(q, [0, 1], known) == 0.0
    assert seen_by_chance(q, range(GRID * GRID), known) == 1.0


def test_a_kind_of_question_that_is_new_to_the_observer_is_refused():
    with pytest.raises(ValueError, match="does not know how to answer questions of kind 'mood'"):
        chance(question("mood", "sad", 1), 1, Prior())
