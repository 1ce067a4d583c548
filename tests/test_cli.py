"""The command line finds its command, and its user's mistakes end with code 2 and one line."""

import sys

import pytest

from grip_vlm import __version__, registry
from grip_vlm.benchmarks.scenes.pixels import digits
from grip_vlm.cli import main


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command_with_what_it_does(capsys, flag):
    with pytest.raises(SystemExit) as stop:
        main([flag])
    assert not stop.value.code
    printed = capsys.readouterr().out
    for name in registry.names("commands"):
        assert f"\n  {name} " in printed
    assert "Answer one question about one image" in printed


@pytest.mark.parametrize("name", registry.names("commands"))
def test_help_of_a_command_explains_its_flags(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert not stop.value.code
    assert f"usage: grip-vlm {name} " in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_missing_command_is_refused_with_those_there_are(mistake):
    assert mistake([]) == f"grip-vlm: a command is missing; choose from {', '.join(registry.names('commands'))}"


@pytest.mark.parametrize("name", ["reply", "__init__", "../cli", ""])
def test_an_unknown_command_is_refused_with_those_there_are(mistake, name):
    expected = f"unknown command {name!r}; choose from {', '.join(registry.names('commands'))}"
    assert mistake([name]) == f"grip-vlm: {expected}"


def test_a_wrong_flag_is_named(mistake):
    assert "--colour" in mistake(["answer", "--image", "scene.png", "--question", "Why?", "--colour", "red"])


def test_a_forgotten_flag_is_named(mistake):
    assert "--question" in mistake(["answer", "--image", "scene.png"])


@pytest.mark.parametrize("arguments", [["list"], ["list", "scorers"], ["answer", "--seed", "x"]], ids=str)
def test_values_that_a_command_does_not_take_are_refused(mistake, arguments):
    assert len(mistake(arguments)) > 20


def test_an_impossible_setting_is_refused_in_the_settings_own_words(mistake, tmp_path):
    line = mistake(["warmup", "--looked", "0", "--out", str(tmp_path / "run")])
    assert line.startswith("grip-vlm: looked must be at least 1, got 0")


def test_a_missing_extra_is_named_with_what_brings_it(capsys, monkeypatch, tmp_path):
    digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    words = ["--pruners", "full", "--benchmarks", "reading", "--budgets", "0.1", "--out", str(tmp_path / "rows.jsonl")]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("grip-vlm: sklearn is missing; pip install 'grip-vlm[scenes]'\n")
