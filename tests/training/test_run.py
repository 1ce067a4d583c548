"""Both stages run against the real frozen VLM, resume to the same weights, and stop clearly when they diverge."""

import copy
import math
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

import build
from grip_vlm import checkpoint, vlms
from grip_vlm.cli import main
from grip_vlm.rivals import tprl
from grip_vlm.rivals.st_gumbel import straight_through_gate
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.training.bank import build_bank
from grip_vlm.training.gates import gated_log_likelihood
from grip_vlm.training.grpo import GRPOConfig, train
from grip_vlm.training.rewards import group_reward, mean_reward, teacher_forced
from grip_vlm.training.run import Run, RunConfig
from grip_vlm.training.state import has_state
from grip_vlm.training.warmup import WarmupConfig, all_looks, answer_attention, beyond_habit, warmup

SMALL = {"examples": 12, "dev_examples": 6, "steps": 4, "batch": 4, "dev_every": 2, "save_every": 1}


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples)


@pytest.fixture
def scorer(vlm):
    torch.manual_seed(0)
    return Scorer(ScorerConfig(dim=vlm.dim, width=16))


def trained(stage, vlm, scorer, bank, config):
    model = copy.deepcopy(scorer)
    stage(vlm, model, bank, bank, config)
    return model.state_dict()


class _KilledError(Exception):
    pass


def killed_after(steps, monkeypatch):
    """The process dies right after the state of step `steps` is on disk."""
    finish = Run._finish_step

    def dying(self, step, start):
        finish(self, step, start)
        if step + 1 == steps:
            raise _KilledError

    monkeypatch.setattr(Run, "_finish_step", dying)


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        (warmup, WarmupConfig(out=None, attention_share=0.5, **SMALL)),
        (warmup, WarmupConfig(out=None, attention_share=0, relaxation="st_gumbel", **SMALL)),
        (warmup, WarmupConfig(out=None, attention_share=0, relaxation="dynamicvit", **SMALL)),
        (warmup, WarmupConfig(out=None, attention_share=0, relaxation="noise_gate", **SMALL)),
        (warmup, WarmupConfig(out=None, attention_share=1, imitation="distribution", **SMALL)),
        (warmup, WarmupConfig(out=None, attention_share=1, imitation="bernoulli", **SMALL)),
        (train, GRPOConfig(out=None, **SMALL)),
        (train, GRPOConfig(out=None, policy="gibbs", **SMALL)),
        (train, GRPOConfig(out=None, policy="plackett_luce", **SMALL)),
        (train, GRPOConfig(out=None, policy="textbook", reward="exact", **SMALL)),
        (tprl.train, tprl.PPOConfig(out=None, **SMALL)),
    ],
    ids=[
        "warmup",
        "st_gumbel",
        "dynamicvit",
        "noise_gate",
        "attention_distill",
        "tprl_start",
        "grip",
        "sets",
        "ordered",
        "grip_like",
        "tprl",
    ],
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    stage, config, vlm, scorer, bank, tmp_path, monkeypatch
):
    whole = trained(stage, vlm, scorer, bank, replace(config, out=tmp_path / "whole"))
    assert any(not torch.equal(whole[name], value) for name, value in scorer.state_dict().items())
    with monkeypatch.context() as patch:
        killed_after(2, patch)
        with pytest.raises(_KilledError):
            trained(stage, vlm, scorer, bank, replace(config, out=tmp_path / "cut"))
    assert has_state(tmp_path / "cut.state")
    resumed = trained(stage, vlm, scorer, bank, replace(config, out=tmp_path / "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("share", "one_pass"), [(0.0, True), (0.5, False)])
def test_a_relaxation_chooses_as_it_was_trained_and_a_warm_up_one_token_after_another(
    share, one_pass, vlm, vlm_dir, tmp_path
):
    told = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    out = str(tmp_path / "run")
    main(["warmup", "--vlm", str(vlm_dir), "--out", out, f"--attention-share={share}", *told])
    assert checkpoint.load(tmp_path / "run", vlm).config.one_pass == one_pass


def test_a_relaxation_goes_on_from_a_loaded_scorer_and_chooses_as_that_did(vlm, scorer, bank, tmp_path):
    trained(train, vlm, scorer, bank, GRPOConfig(out=tmp_path / "begun", **SMALL))
    begun = checkpoint.load(tmp_path / "begun", vlm)
    before = copy.deepcopy(begun.state_dict())
    warmup(vlm, begun, bank, bank, WarmupConfig(out=tmp_path / "run", attention_share=0, **SMALL))
    assert not torch.equal(before["head.0.weight"], begun.state_dict()["head.0.weight"])
    assert not checkpoint.load(tmp_path / "run", vlm).config.one_pass


def test_resuming_with_other_settings_is_refused(vlm, scorer, bank, tmp_path):
    config = GRPOConfig(out=tmp_path / "run", **SMALL)
    trained(train, vlm, scorer, bank, config)
    with pytest.raises(ValueError, match=r"other settings .*group"):
        trained(train, vlm, scorer, bank, replace(config, group=4))


def test_resuming_from_another_scorer_is_refused(vlm, scorer, bank, tmp_path):
    config, other = GRPOConfig(out=tmp_path / "run", **SMALL), copy.deepcopy(scorer)
    trained(train, vlm, scorer, bank, config)
    with torch.no_grad():
        other.head[-1].bias.add_(1.0)
    with pytest.raises(ValueError, match=r"other settings \(init\)"):
        trained(train, vlm, other, bank, config)


@pytest.mark.parametrize(("stage", "kind"), [(train, GRPOConfig), (tprl.train, tprl.PPOConfig)])
def test_what_a_relaxation_began_and_a_policy_goes_on_with_is_chosen_one_after_another(
    stage, kind, vlm, scorer, bank, tmp_path
):
    begun = copy.deepcopy(scorer)
    begun.config = replace(begun.config, one_pass=True)
    stage(vlm, begun, bank, bank, kind(out=tmp_path / "run", **SMALL))
    assert not checkpoint.load(tmp_path / "run", vlm).config.one_pass


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *(({name: 0}, "must be at least 1") for name in SMALL),
        *(({"low": low, "high": high}, "0 < low <= high <= 1") for low, high in [(0, 0.3), (0.4, 0.3), (0.5, 1.1)]),
        *(({"rate": rate}, "learning rate must be between 0 and 1") for rate in (0, 1)),
        ({"budget": "150%"}, "a budget is a whole number of tokens"),
    ],
    ids=str,
)
def test_settings_that_cannot_train_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        RunConfig(out=Path("nowhere"), **wrong)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_imitation_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=rf"attention_share must be in \[0, 1\], got {share}"):
        WarmupConfig(out=Path("nowhere"), attention_share=share)


def test_divergence_stops_with_a_clear_message(vlm, scorer, bank, tmp_path):
    broken = copy.deepcopy(scorer)
    with torch.no_grad():
        broken.head[-1].bias.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        train(vlm, broken, bank, bank, GRPOConfig(out=tmp_path / "run", **SMALL))


def test_the_scorer_on_disk_says_where_it_comes_from(vlm, scorer, bank, tmp_path):
    trained(train, vlm, scorer, bank, GRPOConfig(out=tmp_path / "run", **SMALL))
    notes = checkpoint.read_notes(tmp_path / "run")["provenance"]
    assert notes["fingerprint"] == vlm.fingerprint()
    assert (notes["method"], notes["steps"], notes["data"], notes["seed"]) == ("grip", 4, "scenes", 0)
    assert set(notes["versions"]) == {"grip-vlm", "torch", "transformers"}


def test_the_frozen_vlm_does_not_move(vlm, scorer, bank, tmp_path):
    before = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    trained(warmup, vlm, scorer, bank, WarmupConfig(out=tmp_path / "run", attention_share=0.5, **SMALL))
    assert all(torch.equal(before[name], weight) for name, weight in vlm.model.state_dict().items())
    assert vlm.model.config.get_text_config()._attn_implementation == "sdpa"


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
            expected = alone.log_likelihood.exp() + 0.2 * alone.exact
            torch.testing.assert_close(reward[b, g], expected[0], atol=1e-5, rtol=1e-3)


@pytest.fixture(scope="module")
def second(vlm_dir, tmp_path_factory):
    """A VLM with other weights behind the same processor."""
    folder = tmp_path_factory.mktemp("second")
    shutil.copytree(vlm_dir, folder, dirs_exist_ok=True)
    build.build_model(len(AutoTokenizer.from_pretrained(folder)), seed=1).save_pretrained(folder)
    return vlms.load(str(folder), device="cpu")


def test_two_vlms_judge_a_subset_by_the_mean_of_their_rewards(vlm, second, bank, examples):
    masks = torch.rand(3, 4, 196, generator=torch.Generator().manual_seed(0)) < 0.1
    judges = [(seen.vlm, seen.batch(range(3))) for seen in (bank, build_bank(second, examples))]
    (a, _), (b, _) = (group_reward(*judge, masks, exact_only=False) for judge in judges)
    assert not torch.allclose(a, b, rtol=0.01)
    torch.testing.assert_close(mean_reward(judges, masks, exact_only=False)[0], (a + b) / 2)


@pytest.mark.parametrize("policy", ["sequential", "gibbs", "textbook"])
def test_a_second_vlm_changes_what_is_learnt_and_is_named(vlm, second, scorer, bank, examples, tmp_path, policy):
    weights = {}
    for name, others in {"alone": [], "both": [build_bank(second, examples)]}.items():
        model = copy.deepcopy(scorer)
        train(vlm, model, bank, bank, GRPOConfig(out=tmp_path / name, policy=policy, **SMALL), others)
        weights[name] = model.state_dict()
        told = checkpoint.read_notes(tmp_path / name)["provenance"]["settings"]["others"]
        assert told == [other.vlm.fingerprint() for other in others]
    assert not torch.equal(*(state["head.0.weight"] for state in weights.values()))


def test_a_second_vlm_that_sees_other_examples_is_refused(vlm, second, scorer, bank, examples, tmp_path):
    others = [build_bank(second, examples[:8])]
    with pytest.raises(ValueError, match="must see the same examples"):
        train(vlm, scorer, bank, bank, GRPOConfig(out=tmp_path / "run", **SMALL), others)


def test_open_gates_are_the_unpruned_model(vlm, bank):
    batch = bank.batch(range(4))
    plain = teacher_forced(vlm, batch, batch.encoded.state.visual_mask).log_likelihood
    gated = gated_log_likelihood(vlm, batch, torch.zeros(4, 196))
    torch.testing.assert_close(gated, plain, atol=1e-4, rtol=1e-4)


def test_closed_gates_are_removed_tokens(vlm, bank):
    batch = bank.batch(range(4))
    mask = torch.rand(4, 196, generator=torch.Generator().manual_seed(1)) < 0.2
    removed = teacher_forced(vlm, batch, mask).log_likelihood
    gated = gated_log_likelihood(vlm, batch, torch.where(mask, 0.0, -1e4))
    torch.testing.assert_close(gated, removed, atol=1e-4, rtol=1e-4)


def test_straight_through_gates_are_hard_forward_and_soft_backward():
    scores = torch.randn(2, 30, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gate = straight_through_gate(scores, torch.tensor([5, 9]), torch.Generator().manual_seed(1), 1.0)
    assert (gate.exp() > 0.5).sum(1).tolist() == [5, 9]
    gate.exp().pow(2).sum().backward()
    assert (scores.grad.abs() > 0).sum() > 40


def test_gradients_reach_every_gate(vlm, bank):
    batch = bank.batch(range(2))
    gate = torch.full((2, 196), -0.7, requires_grad=True)
    gated_log_likelihood(vlm, batch, gate).sum().backward()
    assert (gate.grad != 0).float().mean() > 0.95


def test_the_attention_teacher_is_what_a_sample_looks_at_more_than_the_others_do(vlm, bank):
    batch = bank.batch(range(4))
    teacher = beyond_habit(answer_attention(vlm, batch), batch.encoded.state.visual_mask)
    assert torch.isfinite(teacher).all()
    torch.testing.assert_close(teacher.sum(0), torch.zeros(196), atol=1e-6, rtol=0)


def test_the_attention_of_a_batch_of_one_is_not_taken_from_itself(vlm, bank):
    batch = bank.batch([0])
    [look] = looks = answer_attention(vlm, batch)
    assert (look > 0).all()
    assert torch.equal(beyond_habit(looks, batch.encoded.state.visual_mask)[0], look)


def test_looks_are_those_of_single_examples(vlm, bank):
    looks = all_looks(vlm, bank, 5, size=2)
    assert len(looks) == 5
    for i, look in enumerate(looks):
        torch.testing.assert_close(look, answer_attention(vlm, bank.batch([i]))[0], atol=1e-5, rtol=1e-4)


def test_mixed_precision_keeps_float32_weights(vlm_dir, tmp_path):
    small = "--examples 4 --dev-examples 2 --steps 1 --batch 2 --dev-every 1 --width 16 --precision bf16"
    command = f"-m grip_vlm.cli warmup --vlm {vlm_dir} --out {tmp_path / 'run'} {small}"
    subprocess.run([sys.executable, *shlex.split(command)], check=True, timeout=300)
    weights = load_file(tmp_path / "run" / "scorer.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights.values())
