"""Settings that cannot train are refused when they are made, with the rule."""

from pathlib import Path

import pytest

from grip_vlm.training.settings import GRPOConfig, RunConfig, WarmupConfig

COUNTS = ("examples", "dev_examples", "steps", "batch", "dev_every", "save_every")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(({name: 0}, "must be at least 1") for name in COUNTS),
        *(({"low": low, "high": high}, "0 < low <= high <= 1") for low, high in [(0, 0.3), (0.4, 0.3), (0.5, 1.1)]),
        *(({"rate": rate}, "learning rate must be between 0 and 1") for rate in (0, 1)),
        ({"budget": "150%"}, "a budget is a whole number of tokens"),
    ],
    ids=str,
)
def test_settings_that_cannot_train_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(out=Path("nowhere"), **wrong)


@pytest.mark.parametrize(
    ("config", "wrong"), [(RunConfig, "precision"), (WarmupConfig, "precision"), (GRPOConfig, "reward")]
)
def test_a_word_that_a_setting_does_not_know_is_refused_with_those_it_knows(config, wrong):
    words = {"precision": "'no', 'bf16'", "reward": "'dense', 'exact'"}[wrong]
    with pytest.raises(ValueError, match=f"{wrong} must be one of {words}, not 'Exact'"):
        config(out=Path("nowhere"), **{wrong: "Exact"})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_imitation_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=rf"attention_share must be in \[0, 1\], got {share}"):
        WarmupConfig(out=Path("nowhere"), attention_share=share)


@pytest.mark.parametrize("wrong", [{"group": 1}, {"epochs": 0}, {"anchor": -0.1}], ids=str)
def test_settings_of_grpo_that_cannot_train_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 2 subsets"):
        GRPOConfig(out=Path("nowhere"), **wrong)
