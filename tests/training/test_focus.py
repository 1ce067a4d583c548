"""Rollouts go to the questions and budgets whose groups still differ, and nothing is forgotten."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from grip_vlm.sequence import Sample
from grip_vlm.training.bank import Bank, Entry
from grip_vlm.training.focus import cell_of, sample_questions


@dataclass
class OnCPU:
    device = torch.device("cpu")


@pytest.fixture(scope="module")
def bank():
    """A hundred questions of two benchmarks, the second with answers of two lengths."""
    kinds = [("easy", 2), ("hard", 2), ("hard", 5), ("easy", 2)] * 25
    none = torch.zeros(0)
    sample = Sample(torch.zeros(4), none, {}, none, torch.zeros(100, 1), (), none, none, none)
    return Bank(OnCPU(), [Entry(sample, length, 1.0, name) for name, length in kinds])


def log_uniform(rng, counts):
    """Budgets in [0.02, 0.32] of the tokens, as a run samples them."""
    fraction = torch.from_numpy(np.exp(rng.uniform(np.log(0.02), np.log(0.32), len(counts))))
    return (fraction * counts + 0.5).long().clamp(min=1)


def sampled(bank, spread, steps=200):
    rng = np.random.default_rng(0)
    rounds = [sample_questions(bank, log_uniform, rng, 8, spread) for _ in range(steps)]
    return [i for chosen, _, _ in rounds for i in chosen], torch.cat([k for _, k, _ in rounds])


def spread_of(bank, width):
    """The spread `width(benchmark, answer length)` at every octave."""
    return {
        str(cell_of(bank, i, k)): width(entry.benchmark, entry.answer_length)
        for i, entry in enumerate(bank.entries)
        for k in (2, 3, 5, 8, 10, 16, 20, 32)
    }


def test_without_news_questions_and_budgets_are_sampled_evenly(bank):
    chosen, k = sampled(bank, {})
    assert np.mean([bank.entries[i].benchmark == "hard" for i in chosen]) == pytest.approx(0.5, abs=0.04)
    assert float(k.float().log().mean()) == pytest.approx(np.log(2 * 32) / 2, abs=0.06)


def test_cells_whose_groups_differ_more_are_sampled_in_proportion(bank):
    chosen, _ = sampled(bank, spread_of(bank, lambda name, length: 0.4 if length == 5 else 0.1))
    share = np.mean([bank.entries[i].answer_length == 5 for i in chosen])
    assert (
        0.45 < share < 4 / 7 + 0.02
    )  # a quarter of the questions at four times the weight, sampled without replacement


def test_a_cell_without_signal_is_still_sampled(bank):
    chosen, _ = sampled(bank, spread_of(bank, lambda name, _: 0.0 if name == "easy" else 0.3))
    assert 0.05 < np.mean([bank.entries[i].benchmark == "easy" for i in chosen]) < 0.2


def test_a_cell_not_seen_yet_counts_as_the_widest(bank):
    known = spread_of(bank, lambda *_: 0.05)
    unseen = {str(cell_of(bank, 2, k)) for k in range(1, 40)}
    chosen, _ = sampled(bank, {**{key: 0.05 for key in known if key not in unseen}, "0": 0.5})
    assert np.mean([bank.entries[i].answer_length == 5 for i in chosen]) > 0.5


def test_a_budget_that_is_fixed_is_kept(bank):
    _, k, _ = sample_questions(bank, lambda _, counts: counts // 20, np.random.default_rng(0), 8, {})
    assert k.tolist() == [5] * 8


def test_the_budgets_belong_to_their_cells(bank):
    chosen, k, cells = sample_questions(bank, log_uniform, np.random.default_rng(0), 8, {})
    assert cells.tolist() == [cell_of(bank, i, int(kept)) for i, kept in zip(chosen, k, strict=True)]
