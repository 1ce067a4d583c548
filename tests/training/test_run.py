"""A run ends with the same weights whether or not it is killed, and resumes only what it began."""

import copy
import math
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from toolkit.training import KilledAt, fresh_scorer, same_weights

from grip_vlm import checkpoint, rivals
from grip_vlm.rivals import tprl
from grip_vlm.training import grpo
from grip_vlm.training.bank import build_bank
from grip_vlm.training.dev import DevSet
from grip_vlm.training.grpo_sets import gibbs_step
from grip_vlm.training.run import Run, schedule, seeded
from grip_vlm.training.settings import GRPOConfig, WarmupConfig
from grip_vlm.training.state import has_state, read_counters
from grip_vlm.training.warmup import warmup

SMALL = {"examples": 12, "dev_examples": 6, "steps": 4, "batch": 4, "dev_every": 1, "save_every": 1}
OURS = {
    "warmup": (warmup, WarmupConfig(out=None, attention_share=0.5, **SMALL)),
    "grip": (grpo.train, GRPOConfig(out=None, **SMALL)),
    "sets": (partial(grpo.train, step=gibbs_step), GRPOConfig(out=None, **SMALL)),
    "ordered": (partial(grpo.train, step=grpo.plackett_luce_step), GRPOConfig(out=None, **SMALL)),
    "tprl_start": (tprl.train_start, tprl.StartConfig(out=None, **SMALL)),
}
TRAININGS = OURS | {
    name: (rivals.load(name).train, rivals.load(name).Config(out=None, **SMALL)) for name in rivals.names()
}


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples)


@pytest.fixture(scope="module")
def dev(vlm, examples):
    return DevSet(build_bank(vlm, examples[:2]))


@pytest.fixture
def scorer(vlm):
    return fresh_scorer(vlm)


def trained(train, vlm, scorer, bank, dev_score, config):
    """The weights that a copy of `scorer` ends with."""
    model = copy.deepcopy(scorer)
    train(vlm, model, bank, dev_score, config)
    return model.state_dict()


# ---- killed and resumed ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("train", "config"), TRAININGS.values(), ids=TRAININGS)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(train, config, vlm, scorer, bank, dev, tmp_path):
    whole = trained(train, vlm, scorer, bank, dev, replace(config, out=tmp_path / "whole"))
    assert not same_weights(whole, scorer.state_dict())
    cut = replace(config, out=tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        trained(train, vlm, scorer, bank, KilledAt(3, dev), cut)
    assert has_state(tmp_path / "cut.state")
    assert read_counters(tmp_path / "cut.state")["step"] == 2
    assert same_weights(trained(train, vlm, scorer, bank, dev, cut), whole)


@pytest.mark.slow
def test_resuming_with_other_settings_is_refused(vlm, scorer, bank, dev, tmp_path):
    config = GRPOConfig(out=tmp_path / "run", **SMALL)
    trained(grpo.train, vlm, scorer, bank, dev, config)
    with pytest.raises(ValueError, match=r"other settings .*group"):
        trained(grpo.train, vlm, scorer, bank, dev, replace(config, group=4))


@pytest.mark.slow
def test_resuming_from_another_scorer_is_refused(vlm, scorer, bank, dev, tmp_path):
    config, other = GRPOConfig(out=tmp_path / "run", **SMALL), copy.deepcopy(scorer)
    trained(grpo.train, vlm, scorer, bank, dev, config)
    with torch.no_grad():
        other.head[-1].bias.add_(1.0)
    with pytest.raises(ValueError, match=r"other settings \(init\)"):
        trained(grpo.train, vlm, other, bank, dev, config)


# ---- what a run starts from and ends with ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_relaxation_goes_on_from_a_loaded_scorer_and_selects_as_that_did(vlm, scorer, bank, dev, tmp_path):
    trained(grpo.train, vlm, scorer, bank, dev, GRPOConfig(out=tmp_path / "begun", **SMALL))
    begun = checkpoint.load(tmp_path / "begun", vlm)
    before = copy.deepcopy(begun.state_dict())
    warmup(vlm, begun, bank, dev, WarmupConfig(out=tmp_path / "run", attention_share=0, **SMALL))
    assert not torch.equal(before["head.0.weight"], begun.state_dict()["head.0.weight"])
    assert not checkpoint.load(tmp_path / "run", vlm).config.one_pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grip", "grip_like", "tprl"])
def test_a_policy_that_goes_on_from_a_relaxation_selects_one_token_after_another(
    name, vlm, scorer, bank, dev, tmp_path
):
    train, config = TRAININGS[name]
    scorer.config = replace(scorer.config, one_pass=True)
    train(vlm, scorer, bank, dev, replace(config, out=tmp_path / "run"))
    assert not checkpoint.load(tmp_path / "run", vlm).config.one_pass


def test_a_scorer_that_gives_nan_stops_with_a_clear_message(vlm, scorer, bank, dev, tmp_path):
    with torch.no_grad():
        scorer.head[-1].bias.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        grpo.train(vlm, scorer, bank, dev, GRPOConfig(out=tmp_path / "run", **SMALL))


@pytest.mark.parametrize("wrong", ["loss", "gradient"])
def test_a_step_that_is_not_finite_stops_with_advice_and_moves_nothing(wrong, vlm, scorer, dev, tmp_path):
    run = Run(GRPOConfig(out=tmp_path / "run", **SMALL), "grip", vlm, scorer, dev)
    weight = scorer.head[-1].bias
    before = {name: value.clone() for name, value in scorer.state_dict().items()}
    loss = weight.sum() * math.nan if wrong == "loss" else (weight * 0).abs().sum().sqrt()
    assert loss.isfinite() == (wrong == "gradient")
    with pytest.raises(FloatingPointError, match=r"grip diverged: loss .* try a lower --rate"):
        run.descend(loss)
    assert same_weights(before, scorer.state_dict())


@pytest.mark.slow
def test_the_scorer_on_disk_says_where_it_comes_from(vlm, scorer, bank, dev, tmp_path):
    trained(grpo.train, vlm, scorer, bank, dev, GRPOConfig(out=tmp_path / "run", **SMALL))
    notes = checkpoint.read_notes(tmp_path / "run")["provenance"]
    assert notes["fingerprint"] == vlm.fingerprint()
    assert (notes["method"], notes["steps"], notes["data"], notes["seed"]) == ("grip", 4, "scenes", 0)
    assert set(notes["versions"]) == {"grip-vlm", "torch", "transformers"}


@pytest.mark.slow
def test_the_frozen_vlm_does_not_move(vlm, scorer, bank, dev, tmp_path):
    before = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    trained(warmup, vlm, scorer, bank, dev, WarmupConfig(out=tmp_path / "run", attention_share=0.5, **SMALL))
    assert same_weights(before, vlm.model.state_dict())
    assert vlm.model.config.get_text_config()._attn_implementation == "sdpa"


@pytest.mark.slow
def test_mixed_precision_keeps_float32_weights(vlm_dir, tmp_path):
    small = "--examples 4 --dev-examples 2 --steps 1 --batch 2 --dev-every 1 --width 16 --precision bf16"
    command = f"-m grip_vlm.cli warmup --vlm {vlm_dir} --out {tmp_path / 'run'} {small}"
    subprocess.run([sys.executable, *shlex.split(command)], check=True, timeout=300)
    weights = load_file(tmp_path / "run" / "scorer.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights.values())


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 20), (9, 1 / 2), (19, 1), (200, 0.525), (399, 0.05)])
def test_the_learning_rate_rises_for_twenty_steps_and_falls_on_a_cosine_to_a_twentieth(step, share):
    assert schedule(step, 400) == pytest.approx(share, rel=0.01)


def test_a_seeded_network_is_the_same_again_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two, other = (seeded(seed, lambda: torch.nn.Linear(3, 3)) for seed in (1, 1, 2))
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), before)
