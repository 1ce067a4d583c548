"""Every trained rival is one file with its settings and its training, named as its pruner."""

from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

from grip_vlm import pruners, registry, rivals
from grip_vlm.pruners.scored import Scored
from grip_vlm.training.settings import RunConfig

every_rival = pytest.mark.parametrize("name", rivals.names())


@every_rival
def test_a_rival_has_settings_of_a_run_with_a_default_for_everything_but_the_folder(name):
    config = rivals.load(name).Config(out=Path("unused"))
    assert isinstance(config, RunConfig)
    assert {"steps", "batch", "rate", "seed"} <= {field.name for field in fields(config)}


@every_rival
def test_a_rival_trains_by_the_arguments_that_all_have(name):
    assert list(signature(rivals.load(name).train).parameters)[:5] == ["vlm", "scorer", "bank", "dev_score", "config"]


@every_rival
def test_a_rival_has_a_pruner_of_its_name_that_takes_a_scorer(name):
    assert name in pruners.names()
    assert issubclass(registry.load("pruners.methods", name, "pruner").Pruner, Scored)
    with pytest.raises(ValueError, match="scorer"):
        pruners.load(name)


@pytest.mark.parametrize("name", ["grip", "bernoulli", "plackett_luce", "nothing"])
def test_what_is_not_a_rival_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=rf"unknown rival '{name}'; choose from attention_distill, dynamicvit, "):
        rivals.load(name)
