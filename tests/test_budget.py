"""A budget means one exact count of tokens, however it is written, and nonsense is refused before anything runs."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from grip_vlm.budget import Budget


@pytest.mark.parametrize("value", [64, "64", "+64", " 64 ", Budget(tokens=64)])
def test_a_whole_number_is_a_count(value):
    assert Budget.parse(value) == Budget(tokens=64)


@pytest.mark.parametrize("value", [1, "1"])
def test_a_whole_one_is_one_token(value):
    assert Budget.parse(value).k(576) == 1


@pytest.mark.parametrize("value", [1.0, "1.0", "1.", "1e0", "100%"])
def test_one_point_zero_keeps_all(value):
    assert Budget.parse(value).k(576) == 576


@pytest.mark.parametrize("value", [0.1, "0.1", ".1", "1e-1", "10%", "10 %", " 10.0% ", "1000e-2%"])
def test_ten_percent_is_a_tenth_however_it_is_written(value):
    assert Budget.parse(value) == Budget(fraction=Fraction(1, 10))


def test_a_numpy_float_is_a_fraction():
    assert Budget.parse(np.float64(0.1)) == Budget(fraction=Fraction(1, 10))


BAD = [
    0, -1, 0.0, -0.0, 1.5, -0.5, 2.0, math.nan, math.inf, -math.inf, True, False, None, [64], 1j, b"64", "", " ", "abc",
    "0", "-1", "0.0", "1.5", "nan", "inf", "0%", "0.0%", "101%", "100.001%", "-10%", "%", "10%%", "1/2", "1_000", "6 4",
    "0x10", "1e3", "1e400", "1e999", "1e1000", "-1e999", "9" * 400 + ".0", "0.1.2", ".", "e-1", "٦٤", "10 tokens",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:20])
def test_nonsense_is_refused_with_what_a_budget_is(value):
    with pytest.raises(ValueError, match="whole number of tokens"):
        Budget.parse(value)


@pytest.mark.parametrize("fields", [{}, {"tokens": 3, "fraction": Fraction(1, 2)}], ids=["neither", "both"])
def test_a_budget_is_either_tokens_or_a_fraction(fields):
    with pytest.raises(ValueError, match="either tokens or fraction"):
        Budget(**fields)


@pytest.mark.parametrize(("fraction", "n", "k"), [("0.5", 5, 3), ("0.5", 1, 1), ("0.1", 15, 2), ("10%", 25, 3)])
def test_halves_are_rounded_up(fraction, n, k):
    assert Budget.parse(fraction).k(n) == k


@pytest.mark.parametrize(("fraction", "n"), [("0.145", 100), (0.145, 100), ("29%", 50), (0.29, 50)])
def test_a_half_that_a_float_would_miss_is_rounded_up(fraction, n):
    assert float(fraction if "%" not in str(fraction) else "0.29") * n < 14.5  # the float product falls short of it
    assert Budget.parse(fraction).k(n) == 15


def test_just_below_a_half_is_rounded_down():
    assert Budget.parse("0.1449999999999999999999999").k(100) == 14


def test_a_tiny_fraction_still_keeps_one_token():
    assert Budget.parse("0.001").k(10) == 1


@pytest.mark.parametrize("value", [100, "101", 10**9])
def test_more_tokens_than_there_are_keeps_all(value):
    assert Budget.parse(value).k(100) == 100


@pytest.mark.parametrize("value", [1, 64, 0.015, "0.1", "33%", "0.5", 0.999, 1.0])
def test_more_tokens_to_choose_from_never_keep_fewer(value):
    kept = [Budget.parse(value).k(n) for n in range(1, 700)]
    assert all(a <= b for a, b in pairwise(kept))
    assert all(1 <= k <= n for n, k in enumerate(kept, start=1))


@pytest.mark.parametrize("n", [1, 7, 64, 576])
def test_a_larger_fraction_never_keeps_fewer(n):
    kept = [Budget(fraction=Fraction(i, 1000)).k(n) for i in range(1, 1001)]
    assert all(a <= b for a, b in pairwise(kept))
    assert (kept[0], kept[-1]) == (1, n)


def test_a_larger_count_never_keeps_fewer():
    assert [Budget(tokens=t).k(5) for t in range(1, 9)] == [1, 2, 3, 4, 5, 5, 5, 5]


@pytest.mark.parametrize("n", [0, -1])
def test_there_must_be_a_token_to_choose(n):
    with pytest.raises(ValueError, match="at least one visual token"):
        Budget.parse(0.5).k(n)


@pytest.mark.parametrize("value", [1, 64, 0.1, "2%", "0.015", "0.3333333333", 1.0, "100%"])
def test_a_budget_reads_back_from_what_it_prints(value):
    budget = Budget.parse(value)
    assert Budget.parse(str(budget)) == budget
