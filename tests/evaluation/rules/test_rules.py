"""Each rule of k against values worked out by hand, and what all rules share."""

import math

import pytest
import torch
from torch import tensor

from grip_vlm.evaluation.rules import energy, fixed, least, mutual_information, oracle, top_p

N = 12


def curves():
    generator = torch.Generator().manual_seed(0)
    importance = torch.randn(5, N, generator=generator) * 3
    visual = torch.randn(5, N, 6, generator=generator)
    counts = torch.full((5,), N)
    nats = torch.rand(5, generator=generator).double()
    return {
        "fixed": fixed.adequacy(counts),
        "top_p": top_p.adequacy(importance),
        "energy": energy.adequacy(visual, torch.ones(5, N, dtype=torch.bool)),
        "mutual_information": mutual_information.adequacy(nats, counts, 0.5, 0.3, 1.5),
    }


every_rule = pytest.mark.parametrize("name", curves())


@every_rule
def test_adequacy_rises_to_one(name):
    curve = curves()[name]
    assert curve.shape == (5, N)
    assert (curve.diff(dim=1) >= 0).all()
    assert (curve[:, -1] == 1).all()


@every_rule
def test_a_higher_threshold_gives_no_question_fewer_tokens(name):
    curve = curves()[name]
    budgets = torch.stack([least(curve, threshold) for threshold in (0.0, 0.1, 0.3, 0.5, 0.9, 1.0)])
    assert (budgets.diff(dim=0) >= 0).all()
    assert (budgets[0] == 1).all()
    assert (budgets <= N).all()


def test_the_least_budget_reaches_the_threshold():
    assert least(tensor([[0.1, 0.5, 1.0], [0.5, 0.6, 1.0]]), 0.5).tolist() == [2, 1]


def test_a_curve_that_never_reaches_the_threshold_is_refused():
    with pytest.raises(ValueError, match=r"stays below 0\.9"):
        least(tensor([[0.1, 0.8]]), 0.9)


def test_fixed_gives_a_share_of_each_question_s_own_tokens():
    assert least(fixed.adequacy(tensor([4, 8])), 0.5).tolist() == [2, 4]


def test_top_p_counts_the_heaviest_tokens():
    importance = tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]]).log()
    curve = top_p.adequacy(importance)
    assert curve == pytest.approx(tensor([[0.5, 0.8, 1.0], [0.9, 0.95, 1.0]]).double(), abs=1e-6)


def test_top_p_needs_no_more_tokens_than_there_are():
    importance = tensor([[1.0, 1.0, -math.inf, -math.inf]])
    assert least(top_p.adequacy(importance), 1.0).tolist() == [2]


def test_energy_is_that_of_the_singular_values():
    visual = torch.zeros(1, 4, 3)
    visual[0, 0, 0], visual[0, 1, 1], visual[0, 2, 2] = 3.0, 2.0, 1.0  # singular values 3, 2, 1
    curve = energy.adequacy(visual, torch.ones(1, 4, dtype=torch.bool))
    assert curve == pytest.approx(tensor([[9 / 14, 13 / 14, 1.0, 1.0]]).double())


def test_energy_ignores_padding():
    visual = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))
    mask = tensor([[True, True, False, False]])
    alone = energy.adequacy(visual[:, :2], mask[:, :2])
    assert energy.adequacy(visual, mask)[:, :2] == pytest.approx(alone)


def test_mutual_information_of_independent_and_of_decided_attention():
    independent = torch.outer(tensor([0.3, 0.7]), tensor([0.2, 0.2, 0.6]))
    decided = torch.eye(2)
    nats = mutual_information.information([independent, decided, torch.zeros(0, 3)])
    assert nats == pytest.approx(tensor([0.0, math.log(2), 0.0]).double(), abs=1e-6)


def test_mutual_information_moves_the_budget_by_its_slope():
    nats, counts = tensor([1.0, 2.0]).double(), tensor([100, 100])
    budgets = least(mutual_information.adequacy(nats, counts, centre=1.0, scale=1.0, slope=math.log(4)), 0.5)
    assert budgets.tolist() == [50, 20]  # odds of 1 and of 1 / 4


def test_the_oracle_stops_at_the_first_answer_as_good_as_the_full_one():
    nan = math.nan
    scores = tensor([[0.0, 1.0, 0.0], [0.0, nan, 0.0], [0.0, 0.0, 0.0]])
    assert least(oracle.adequacy(scores, tensor([1.0, 1.0, 0.0])), 1.0).tolist() == [2, 3, 1]
