"""The rule that turns the head's curve into a count: by hand, by enumeration, and its cost beside the scorer's."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from grip_vlm.checkpoint import parameters
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.sufficiency import Curve, Head, features, least, steps, worth


def curve(*pairs):
    level, slope = zip(*pairs, strict=True)
    return Curve(torch.tensor(level).double(), torch.tensor(slope).double())


def state_of(dim, visual=196, words=12, padded=0):
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(2, visual, dtype=torch.bool)
    mask[1, visual - padded :] = False
    return State(
        visual=torch.randn(2, visual, dim, generator=generator),
        visual_mask=mask,
        places=torch.rand(2, visual, 2, generator=generator),
        image=torch.zeros(2, visual, dtype=torch.long),
        question=torch.randn(2, words, dim, generator=generator),
        question_mask=torch.ones(2, words, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("n", "counts"),
    [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (8, [1, 2, 3, 4, 6, 8]), (20, [1, 2, 3, 4, 6, 8, 12, 16, 20])],
)
def test_the_rule_chooses_from_half_octaves_and_all(n, counts):
    assert steps(n) == counts


def test_worth_is_the_largest_gain_per_token_still_to_come_by_hand():
    """p(1) = 0.5, p(2) = 2/3, p(4) = 0.8 for level 0 and slope 1."""
    first, second, last = worth(curve((0, 1)), torch.tensor([1, 2, 4]))[0].tolist()
    assert (first, second) == pytest.approx((2 / 3 - 1 / 2, (0.8 - 2 / 3) / 2))
    assert last == -math.inf


def test_worth_looks_past_a_count_that_brings_little():
    """A steep curve gains little at first and much later; the first worth is the later gain."""
    values = worth(curve((-20.0, 8.0)), torch.tensor([1, 2, 16, 32]))[0]
    assert values[0] == values[1] > 0.03


def test_a_price_of_nothing_buys_all_tokens_and_a_price_of_one_buys_one():
    both = curve((0.0, 1.0), (50.0, 3.0))
    assert least(both, 100, 0.0).tolist() == [100, 100]
    assert least(both, 100, 1.0).tolist() == [1, 1]


@pytest.mark.parametrize("price", [0.2, 0.05, 1e-3, 1e-5])
def test_no_larger_count_is_worth_the_price_and_every_step_before_was(price):
    counts = steps(300)
    one = curve((-3.0, 1.4))
    k = int(least(one, 300, price))
    p = [1 / (1 + math.exp(3.0 - 1.4 * math.log(c))) for c in counts]
    gain = [(p[j + 1] - p[j]) / (counts[j + 1] - counts[j]) for j in range(len(p) - 1)]
    place = counts.index(k)
    assert all(g < price for g in gain[place:])
    assert place == 0 or gain[place - 1] >= price or max(gain[place - 1 :], default=0) >= price


def test_a_higher_price_never_buys_more():
    several = curve((-3.0, 1.4), (0.0, 0.2), (-30.0, 9.0), (4.0, 2.0))
    bought = torch.stack([least(several, 577, price) for price in (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)])
    assert (bought.diff(dim=0) <= 0).all()


def test_one_price_is_the_best_split_and_one_probability_is_not():
    """An easy question and a hard one share 91 tokens; every split is tried."""
    both = curve((-1.0, 2.0), (-6.0, 1.5))
    by_price = least(both, 400, 0.0035)
    total = int(by_price.sum())

    def right(split):
        p = torch.sigmoid(both.logits(torch.tensor(split)).diagonal())
        return float(p.mean()), float((p[0] - p[1]).abs())

    splits = [right((k, total - k)) for k in range(1, total)]
    best = max(value for value, _ in splits)
    equal = min(splits, key=lambda split: split[1])[0]
    assert right(tuple(by_price.tolist()))[0] > best - 0.002 > equal


@pytest.mark.parametrize("price", [-1.0, math.nan])
def test_a_price_below_nothing_is_refused(price):
    with pytest.raises(ValueError, match="at least 0"):
        least(curve((0.0, 1.0)), 10, price)


def test_padding_does_not_change_a_curve():
    scorer, head = Scorer(ScorerConfig(dim=32, width=16)), Head(16)
    state = state_of(32, padded=40)
    noise = state.visual.clone()
    noise[1, -40:] = 7.0
    other = State(noise, state.visual_mask, state.places, state.image, state.question, state.question_mask)
    with torch.no_grad():
        one, two = (head(scorer.read(s), s) for s in (state, other))
    assert torch.equal(one.level, two.level)


def test_an_empty_question_has_a_curve():
    scorer, head = Scorer(ScorerConfig(dim=32, width=16)), Head(16)
    state = state_of(32, words=0)
    with torch.no_grad():
        made = head(scorer.read(state), state)
    assert made.level.isfinite().all()
    assert (made.slope > 0).all()


def test_the_head_adds_less_than_one_percent_to_the_scorer():
    """Parameters, and FLOPs of one question at tiny-llava's sizes."""
    scorer, head, state = Scorer(ScorerConfig(dim=192)), Head(96), state_of(192)
    assert parameters(head) < 0.01 * parameters(scorer)
    with torch.no_grad():
        reading = scorer.read(state)
        seen = features(reading, state)
        flops = {}
        for name, call in {
            "head": lambda: (features(reading, state), head.curve(seen)),
            "scorer": lambda: scorer(state, torch.tensor([20, 20])),
        }.items():
            with FlopCounterMode(display=False) as counter:
                call()
            flops[name] = counter.get_total_flops()
    assert 0 < flops["head"] < 0.01 * flops["scorer"]
