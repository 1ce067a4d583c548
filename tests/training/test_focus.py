"""Rollouts go to the questions and budgets whose groups still differ, and nothing is forgotten."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from grip_vlm.sequence import Sample
from grip_vlm.training import focus
from grip_vlm.training.bank import Bank, Entry
from grip_vlm.training.run import RunConfig

CONFIG = RunConfig(out=Path("unused"), low=0.02, high=0.32)


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


def drawn(bank, spread, steps=200):
    rng = np.random.default_rng(0)
    rounds = [focus.draw(bank, CONFIG, rng, 8, spread) for _ in range(steps)]
    return [i for chosen, _, _ in rounds for i in chosen], torch.cat([k for _, k, _ in rounds])


def spread_of(bank, width):
    """The spread `width(benchmark, answer length)` at every octave."""
    return {
        str(focus.cell(bank, i, k)): width(entry.benchmark, entry.answer_length)
        for i, entry in enumerate(bank.entries)
        for k in (2, 3, 5, 8, 10, 16, 20, 32)
    }


def test_without_news_questions_and_budgets_are_drawn_evenly(bank):
    chosen, k = drawn(bank, {})
    assert np.mean([bank.entries[i].benchmark == "hard" for i in chosen]) == pytest.approx(0.5, abs=0.04)
    assert float(k.float().log().mean()) == pytest.approx(np.log(2 * 32) / 2, abs=0.06)


def test_cells_whose_groups_differ_more_are_drawn_in_proportion(bank):
    chosen, _ = drawn(bank, spread_of(bank, lambda name, length: 0.4 if length == 5 else 0.1))
    share = np.mean([bank.entries[i].answer_length == 5 for i in chosen])
    assert 0.45 < share < 4 / 7 + 0.02  # a quarter of the questions at four times the weight, drawn without replacement


def test_a_cell_without_signal_is_still_drawn(bank):
    chosen, _ = drawn(bank, spread_of(bank, lambda name, _: 0.0 if name == "easy" else 0.3))
    assert 0.05 < np.mean([bank.entries[i].benchmark == "easy" for i in chosen]) < 0.2


def test_a_cell_not_seen_yet_counts_as_the_widest(bank):
    known = spread_of(bank, lambda *_: 0.05)
    unseen = {str(focus.cell(bank, 2, k)) for k in range(1, 40)}
    chosen, _ = drawn(bank, {**{key: 0.05 for key in known if key not in unseen}, "0": 0.5})
    assert np.mean([bank.entries[i].answer_length == 5 for i in chosen]) > 0.5


def test_a_budget_fixed_for_the_run_is_kept(bank):
    config = RunConfig(out=Path("unused"), budget="0.05")
    _, k, _ = focus.draw(bank, config, np.random.default_rng(0), 8, {})
    assert k.tolist() == [5] * 8


def test_the_budgets_belong_to_their_cells(bank):
    chosen, k, cells = focus.draw(bank, CONFIG, np.random.default_rng(0), 8, {})
    assert cells.tolist() == [focus.cell(bank, i, int(kept)) for i, kept in zip(chosen, k, strict=True)]


def test_a_spread_moves_a_fifth_of_the_way_to_what_was_seen():
    spread = {"7": 0.5}
    focus.update(spread, torch.tensor([7, 9, 7]), torch.tensor([0.2, 0.3, 0.4]))
    assert spread == pytest.approx({"7": 0.8 * 0.5 + 0.2 * 0.3, "9": 0.3})
