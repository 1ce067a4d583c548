"""A training command that cannot go on ends with code 2 and one line, and leaves what is there as it is."""

import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from grip_vlm.cli import main
from grip_vlm.training import warmup as stage_one
from grip_vlm.training.run import Run


@pytest.fixture(scope="module")
def small(vlm_dir):
    """Arguments of one step."""
    few = "--examples 2 --dev-examples 2 --steps 1 --batch 2 --width 16 --attention-share 0"
    return ["warmup", "--vlm", str(vlm_dir), *few.split()]


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "run"
    main([*small, "--out", str(out)])
    return out


@pytest.fixture
def out(done, tmp_path):
    """A run that is over, with its state."""
    for path in (done, done.with_name("run.state")):
        shutil.copytree(path, tmp_path / path.name)
    return tmp_path / "run"


@pytest.fixture
def refused(capsys):
    """Run arguments that must fail; returns the last line on stderr, bars of loading and encoding being before it."""

    def run(arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        said = capsys.readouterr().err
        assert stop.value.code == 2
        assert "Traceback" not in said
        assert said.count("grip-vlm: ") == 1
        line = said.splitlines()[-1]
        assert line.startswith("grip-vlm: ")
        return line

    return run


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "differs"),
    [
        (["--width", "32"], "init, scorer"),
        (["--relaxation", "noise_gate"], "method, relaxation"),
        (["--rate", "0.01"], "rate"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(refused, small, out, flags, differs):
    said = refused([*small, "--out", str(out), *flags])
    assert f"{out}.state holds a run with other settings ({differs}); give the same settings" in said


@pytest.mark.parametrize(("file", "keep"), [("state.safetensors", 1000), ("state.safetensors", 0), ("state.json", 40)])
def test_a_damaged_state_is_named_with_what_to_do(refused, small, out, file, keep):
    path = out.with_name("run.state") / file
    path.write_bytes(path.read_bytes()[:keep])
    said = refused([*small, "--out", str(out)])
    assert f"{path.parent} holds no state that can be read; remove it to begin again" in said


# ---- before and after it ---------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_not_trained_over(refused, small, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("the only copy")
    assert "thesis holds something else than a scorer; give another --out" in refused([*small, "--out", str(thesis)])
    assert [path.read_text() for path in thesis.iterdir()] == ["the only copy"]


def test_a_run_that_diverges_says_what_to_try(refused, small, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_one, "relaxed_loss", lambda run, batch, scores, *rest: scores.sum() * math.nan)
    said = refused([*small, "--out", str(tmp_path / "run")])
    assert "soft_topk diverged: loss nan" in said
    assert "try a lower --rate" in said


def test_an_interrupted_run_says_that_the_same_command_goes_on_and_it_does(small, tmp_path, capsys, monkeypatch):
    more, out = [*small, "--steps", "2", "--save-every", "1", "--dev-every", "1"], tmp_path / "run"
    finish = Run._finish_step

    def interrupted(self, step, start):
        finish(self, step, start)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_finish_step", interrupted)
        with pytest.raises(SystemExit) as stop:
            main([*more, "--out", str(out)])
    assert stop.value.code == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "grip-vlm: interrupted; the same command goes on where it was"
    main([*more, "--out", str(out)])
    assert "resuming soft_topk at step 1 from" in capsys.readouterr().err


# ---- what a run starts from, and what it leaves beside it ------------------------------------------------------------


def test_a_relaxation_goes_on_from_the_scorer_it_is_given(small, done, tmp_path):
    main([*small, "--init", str(done), "--out", str(tmp_path / "more")])
    main([*small, "--out", str(tmp_path / "new")])
    begun, more, new = (load_file(at / "scorer.safetensors") for at in (done, tmp_path / "more", tmp_path / "new"))
    assert all(torch.equal(new[name], weight) for name, weight in begun.items())  # the same seed gives the same
    assert not all(torch.equal(more[name], weight) for name, weight in begun.items())


def test_curves_outlive_the_run_and_do_not_bar_it_from_going_on(small, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    command = [*small, "--steps", "2", "--save-every", "1", "--log", "tensorboard", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        patched.setattr(Run, "_finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(SystemExit):
            main(command)
    main(command)
    assert list((tmp_path / "run.log").rglob("events.*"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["scorer.json", "scorer.safetensors"]
