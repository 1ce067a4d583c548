"""Where targets are the VLM's own answers, exact match is what greedy decoding gives: on the shipped VLM."""

from dataclasses import replace

import pytest
import torch
from toolkit.training import fresh_scorer

from grip_vlm import vlms
from grip_vlm.mdp import Action
from grip_vlm.training.bank import build_bank
from grip_vlm.training.dev import DevSet
from grip_vlm.training.rewards import group_reward, teacher_forced

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shipped():
    return vlms.load("tiny-llava", device="cpu")


@pytest.fixture(scope="module")
def bank(shipped, examples):
    """Nothing is right by its label."""
    return build_bank(shipped, [replace(e, answers=("no such thing",)) for e in examples], label_free=True)


@pytest.fixture(scope="module")
def batch(bank):
    return bank.batch(range(len(bank)))


@pytest.fixture(scope="module")
def masks():
    """A tenth of the tokens of each example, four times, (12, 4, 196)."""
    return torch.rand(12, 4, 196, generator=torch.Generator().manual_seed(0)) < 0.1


def test_the_vlms_own_answer_scores_one_whatever_the_label(bank):
    assert [entry.target_score for entry in bank.entries] == [1.0] * 12


def test_from_all_tokens_every_own_answer_is_exact(shipped, batch):
    assert (teacher_forced(shipped, batch, batch.encoded.state.visual_mask).exact_match == 1).all()


def test_from_few_tokens_an_answer_is_exact_where_greedy_decoding_gives_the_same(shipped, batch, masks, examples):
    encoded = shipped.encode(shipped.inputs([e.image for e in examples], [e.question for e in examples]))

    def answers(mask):
        return shipped.respond(encoded, Action(mask), 32).texts

    whole = answers(encoded.state.visual_mask)
    same = [one == other for one, other in zip(answers(masks[:, 0]), whole, strict=True)]
    assert set(same) == {True, False}
    assert teacher_forced(shipped, batch, masks[:, 0]).exact_match.tolist() == [float(one) for one in same]


def test_the_exact_reward_is_exact_match_and_nothing_else(shipped, batch, masks):
    reward, exact = group_reward(shipped, batch, masks, exact_only=True)
    dense, found = group_reward(shipped, batch, masks, exact_only=False)
    assert torch.equal(reward, exact)
    assert torch.equal(exact, found)
    assert not torch.allclose(reward, dense, atol=0.1)


def test_a_dev_score_is_the_mean_exact_match_over_examples_and_budgets(shipped, bank):
    """From all tokens every own answer is matched, from four of 196 not every one."""
    scorer, dev = fresh_scorer(shipped), DevSet(bank)
    few = dev(scorer, ["0.02"])
    assert few < 1
    assert dev(scorer, ["1.0", "0.02"]) == pytest.approx((1 + few) / 2)
