"""Calibration against exact tails and against simulations whose true losses are known."""

import itertools
import math

import numpy as np
import pytest

from grip_vlm.evaluation.calibrate import (
    betting,
    binomial,
    conformal_risk_control,
    fewest,
    hoeffding_bentkus,
    learn_then_test,
    p_values,
    paired_losses,
)

MEANS = np.array([0.0, 0.004, 0.01, 0.02, 0.03, 0.06, 0.12, 0.3])  # true mean loss of each threshold, safest first
DRAWS = 2000


def coupled(rng, n, means=MEANS):
    """(n, T) 0/1 losses that rise with the threshold: a question is lost from some threshold on."""
    return (rng.random((n, 1)) < means).astype(float)


def clopper_pearson(count, draws, level=0.999):
    """An exact two-sided interval of a share."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = beta.ppf(tail, count, draws - count + 1) if count else 0.0
    return low, beta.ppf(1 - tail, count + 1, draws - count) if count < draws else 1.0


# ---- p-values --------------------------------------------------------------------------------------------------------


def test_the_binomial_p_value_is_the_sum_over_all_outcomes():
    n, mean = 6, 0.3
    outcomes = list(itertools.product((0, 1), repeat=n))
    for count in range(n + 1):
        exact = sum(mean ** sum(o) * (1 - mean) ** (n - sum(o)) for o in outcomes if sum(o) <= count)
        assert binomial([count], n, mean) == pytest.approx([exact])


def test_hoeffding_bentkus_by_hand():
    n, mean, total = 10, 0.4, 1.5
    h = 0.15 * math.log(0.15 / 0.4) + 0.85 * math.log(0.85 / 0.6)
    bentkus = math.e * sum(math.comb(n, i) * mean**i * (1 - mean) ** (n - i) for i in range(3))
    assert bentkus < 1
    assert hoeffding_bentkus([total], n, mean) == pytest.approx([min(math.exp(-n * h), bentkus)])


def test_an_average_above_the_mean_is_no_evidence():
    assert hoeffding_bentkus([50.0, 99.0], 100, 0.4) == pytest.approx([1.0, 1.0])


def test_binary_losses_get_the_exact_tail_and_others_do_not():
    losses = np.zeros((20, 1))
    losses[:2] = 1
    assert p_values(losses, 0.3) == pytest.approx(binomial([2], 20, 0.3))
    losses[0] = 0.5
    assert p_values(losses, 0.3) == pytest.approx(hoeffding_bentkus([1.5], 20, 0.3))


@pytest.mark.parametrize("draw", ["binary", "halves", "uniform"])
def test_p_values_are_valid_at_the_edge_of_the_hypothesis(draw):
    """At the true mean, P(p <= u) <= u for every u."""
    rng, n, mean = np.random.default_rng(0), 120, 0.1
    losses = {
        "binary": lambda: (rng.random((n, DRAWS)) < mean).astype(float),
        "halves": lambda: 0.5 * (rng.random((n, DRAWS)) < 2 * mean),
        "uniform": lambda: 2 * mean * rng.random((n, DRAWS)),
    }[draw]()
    p = p_values(losses, mean)
    for level in (0.01, 0.05, 0.1, 0.3):
        assert clopper_pearson(int((p <= level).sum()), DRAWS)[0] <= level


def changes(rng, shape, spoiled, corrected):
    """Signed drops: 1 with the one probability, -1 with the other, else 0."""
    u = rng.random(shape)
    return (u < spoiled).astype(float) - (u > 1 - corrected)


def test_the_capital_of_three_bets_by_hand():
    n, mean, level = 3, 0.1, 0.05
    drops = np.array([[-1.0], [-1.0], [-1.0]])  # equal, so their order does not matter
    capital, seen, variance, squares = 1.0, 0.5 * mean, 0.25, 0.125
    for t in range(1, n + 1):
        capital *= 1 + min(math.sqrt(2 * math.log(1 / level) / (n * variance)), 0.5) * (mean + 1)
        seen -= 1
        squares += (-1 - seen / (t + 0.5)) ** 2
        variance = squares / (t + 0.5)
    assert betting(drops, mean, level) == pytest.approx([1 / capital])


@pytest.mark.parametrize(("spoiled", "corrected"), [(0.05, 0.0), (0.06, 0.01), (0.3, 0.25)])
def test_betting_is_valid_at_the_edge_of_the_hypothesis(spoiled, corrected):
    p = betting(changes(np.random.default_rng(5), (300, DRAWS), spoiled, corrected), spoiled - corrected, 0.05)
    for level in (0.01, 0.05, 0.1, 0.3):
        assert clopper_pearson(int((p <= level).sum()), DRAWS)[0] <= level


def test_betting_certifies_changes_that_cancel_where_the_clipped_loss_does_not():
    drops = changes(np.random.default_rng(6), (2000, 1), 0.03, 0.03)
    assert learn_then_test(drops, 0.02, 0.95, signed=True) == 0
    assert learn_then_test(np.maximum(0, drops), 0.02, 0.95) is None


def test_the_order_of_the_values_does_not_decide():
    """All losses come first in the file: in that order the capital is lost before the gains."""
    drops = np.sort(changes(np.random.default_rng(7), (2000, 1), 0.03, 0.05), axis=0)[::-1]
    assert betting(drops, 0.02, 0.05) <= 0.05


# ---- Learn then Test -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_drop", "confidence"), [(0.0199, 0.9), (0.0199, 0.95), (0.0599, 0.95)])
def test_the_certified_threshold_is_worse_than_promised_in_at_most_delta_of_the_draws(max_drop, confidence):
    """The true mean of one threshold is just above max_drop: the case with the most violations."""
    rng, violations = np.random.default_rng(1), 0
    for _ in range(DRAWS):
        index = learn_then_test(coupled(rng, 400), max_drop, confidence)
        violations += index is not None and MEANS[index] > max_drop
    low, high = clopper_pearson(violations, DRAWS)
    assert low <= 1 - confidence
    assert high > (1 - confidence) / 10  # nor is it safe because it never certifies anything


def test_the_guarantee_needs_no_monotone_losses():
    rng, violations = np.random.default_rng(2), 0
    means = np.array([0.0, 0.021, 0.001, 0.021, 0.05])
    for _ in range(DRAWS):
        index = learn_then_test((rng.random((400, 5)) < means).astype(float), 0.02, 0.9)
        violations += index is not None and means[index] > 0.02
    assert clopper_pearson(violations, DRAWS)[0] <= 0.1


def test_more_questions_certify_a_cheaper_threshold():
    rng = np.random.default_rng(3)
    chosen = [np.mean([learn_then_test(coupled(rng, n), 0.02, 0.95) for _ in range(200)]) for n in (200, 1000, 20_000)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert chosen[2] == pytest.approx(2, abs=0.15)  # 0.01; the next is 0.02 itself, which passes in 5 % of the draws


def test_testing_stops_at_the_first_failure():
    losses = np.zeros((1000, 4))
    losses[:200, 1] = 1
    assert learn_then_test(losses, 0.02, 0.95) == 0


def test_nothing_is_certified_where_even_the_safest_fails():
    assert learn_then_test(np.ones((500, 3)), 0.02, 0.95) is None


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("max_drop", "confidence"), [(0.01, 0.9), (0.02, 0.95), (0.05, 0.95), (0.5, 0.5)])
def test_the_fewest_questions_are_just_enough(max_drop, confidence, signed):
    n = fewest(max_drop, confidence, signed)
    assert learn_then_test(np.zeros((n, 1)), max_drop, confidence, signed=signed) == 0
    assert n == 1 or learn_then_test(np.zeros((n - 1, 1)), max_drop, confidence, signed=signed) is None


# ---- conformal risk control ------------------------------------------------------------------------------------------


def test_conformal_risk_control_bounds_the_expected_loss():
    rng, means = np.random.default_rng(4), np.linspace(0, 0.1, 101)
    chosen = [means[conformal_risk_control(coupled(rng, 300, means), 0.05)] for _ in range(1000)]
    error = 4 * np.std(chosen) / 1000**0.5
    assert np.mean(chosen) <= 0.05 + error
    assert np.mean(chosen) >= 0.05 - 2 / 301 - 0.001 - error  # at most two over n + 1 and a step of the grid below


def test_conformal_risk_control_takes_the_running_maximum_of_each_question():
    losses = np.zeros((99, 3))
    losses[:4, 0] = losses[4:8, 1] = losses[8:12, 2] = 1
    assert conformal_risk_control(losses, 0.051) == 0
    assert conformal_risk_control(losses, 0.091) == 1
    assert conformal_risk_control(losses, 0.049) is None


# ---- input -----------------------------------------------------------------------------------------------------------


def test_a_paired_loss_forgives_nothing_and_rewards_nothing():
    losses = paired_losses([1.0, 0.0, 0.6], [[1.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    assert losses == pytest.approx(np.array([[0.0, 1.0], [0.0, 0.0], [0.1, 0.0]]))


@pytest.mark.parametrize(
    ("losses", "max_drop", "confidence", "message"),
    [
        ([[0.0, 1.2]], 0.1, 0.9, "between 0 and 1"),
        ([[0.0, np.nan]], 0.1, 0.9, "between 0 and 1"),
        ([0.0, 1.0], 0.1, 0.9, "questions, thresholds"),
        (np.zeros((0, 3)), 0.1, 0.9, "at least one of each"),
        ([[0.0]], 0.0, 0.9, "max_drop"),
        ([[0.0]], 0.1, 1.0, "confidence"),
        ([[0.0]], 0.1, np.nan, "confidence"),
    ],
)
def test_impossible_arguments_are_refused(losses, max_drop, confidence, message):
    with pytest.raises(ValueError, match=message):
        learn_then_test(losses, max_drop, confidence)


def test_scores_outside_the_unit_interval_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_losses([1.0], [[-0.1]])
    with pytest.raises(ValueError, match=r"\(n,\) and \(n, T\)"):
        paired_losses([1.0, 0.0], [[1.0]])
