"""Rewards of groups, of one VLM or as the mean of two that see the same examples."""

import shutil
from functools import partial

import pytest
import torch
from toolkit.training import fresh_scorer
from transformers import AutoTokenizer

import build
from grip_vlm import checkpoint, vlms
from grip_vlm.rivals import grip_like
from grip_vlm.training import grpo
from grip_vlm.training.bank import build_bank
from grip_vlm.training.grpo_sets import gibbs_step
from grip_vlm.training.rewards import group_reward, mean_reward, teacher_forced
from grip_vlm.training.settings import GRPOConfig

SMALL = {"examples": 12, "dev_examples": 6, "steps": 2, "batch": 4, "dev_every": 2, "save_every": 2}


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples)


def no_dev_score(scorer, budgets):
    """The same for all weights, so that the last ones are kept."""
    return 0.0


@pytest.fixture(scope="module")
def second(vlm_dir, tmp_path_factory):
    """A VLM with other weights behind the same processor."""
    folder = tmp_path_factory.mktemp("second")
    shutil.copytree(vlm_dir, folder, dirs_exist_ok=True)
    build.build_model(len(AutoTokenizer.from_pretrained(folder)), seed=1).save_pretrained(folder)
    return vlms.load(str(folder), device="cpu")


def test_the_reward_of_a_group_equals_one_forward_at_a_time(vlm, bank):
    batch = bank.batch(range(3))
    masks = (
        torch.rand(3, 4, 196, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0.02, 0.1, 0.5])[:, None, None]
    )
    reward, _ = group_reward(vlm, batch, masks, exact_only=False)
    for b in range(3):
        single = bank.batch([b])
        for g in range(4):
            alone = teacher_forced(vlm, single, masks[b, g][None])
            expected = alone.log_likelihood.exp() + 0.2 * alone.exact_match
            torch.testing.assert_close(reward[b, g], expected[0], atol=1e-5, rtol=1e-3)


def test_two_vlms_judge_a_subset_by_the_mean_of_their_rewards(vlm, second, bank, examples):
    masks = torch.rand(3, 4, 196, generator=torch.Generator().manual_seed(0)) < 0.1
    judges = [(seen.vlm, seen.batch(range(3))) for seen in (bank, build_bank(second, examples))]
    (a, _), (b, _) = (group_reward(*judge, masks, exact_only=False) for judge in judges)
    assert not torch.allclose(a, b, rtol=0.01)
    torch.testing.assert_close(mean_reward(judges, masks, exact_only=False)[0], (a + b) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "train",
    [grpo.train, partial(grpo.train, step=gibbs_step), grip_like.train],
    ids=["sequential", "gibbs", "textbook"],
)
def test_a_second_vlm_changes_what_is_learnt_and_is_named(train, vlm, second, bank, examples, tmp_path):
    weights = {}
    for name, others in {"alone": [], "both": [build_bank(second, examples)]}.items():
        model = fresh_scorer(vlm)
        train(vlm, model, bank, no_dev_score, GRPOConfig(out=tmp_path / name, **SMALL), others)
        weights[name] = model.state_dict()
        named = checkpoint.read_notes(tmp_path / name)["provenance"]["settings"]["others"]
        assert named == [other.vlm.fingerprint() for other in others]
    assert not torch.equal(*(state["head.0.weight"] for state in weights.values()))


@pytest.mark.parametrize("train", [grpo.train, grip_like.train], ids=["sequential", "textbook"])
def test_a_second_vlm_that_sees_other_examples_is_refused(train, vlm, second, bank, examples, tmp_path):
    others = [build_bank(second, examples[:8])]
    with pytest.raises(ValueError, match="must see the same examples"):
        train(vlm, fresh_scorer(vlm), bank, no_dev_score, GRPOConfig(out=tmp_path / "run", **SMALL), others)
