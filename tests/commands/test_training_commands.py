"""`grip-vlm warmup`, `train` and `ppo`: one that cannot go on ends with one line and leaves what is there as it is."""

import shutil
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from grip_vlm import checkpoint, pruners
from grip_vlm.cli import main
from grip_vlm.scorer import Scorer
from grip_vlm.training.state import has_state, read_counters


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


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "differs"),
    [
        (["--width", "32"], "init, scorer"),
        (["--relaxation", "noise_gate"], "method, relaxation"),
        (["--rate", "0.01"], "rate"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(refused, small, out, flags, differs):
    line = refused([*small, "--out", str(out), *flags])
    assert f"{out}.state holds a run with other settings ({differs}); give the same settings" in line


@pytest.mark.parametrize(("file", "keep"), [("state.safetensors", 1000), ("state.safetensors", 0), ("state.json", 40)])
def test_a_damaged_state_is_named_with_what_to_do(refused, small, out, file, keep):
    path = out.with_name("run.state") / file
    path.write_bytes(path.read_bytes()[:keep])
    shutil.rmtree(out)  # a run that has not written its scorer needs its state
    line = refused([*small, "--out", str(out)])
    assert f"{path.parent} holds no state that can be read; remove it to begin again" in line


# ---- before and after it ---------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_not_trained_over(refused, small, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("the only copy")
    assert "thesis holds something else than a scorer; give another --out" in refused([*small, "--out", str(thesis)])
    assert [path.read_text() for path in thesis.iterdir()] == ["the only copy"]


def test_a_run_that_diverges_says_what_to_try(refused, small, tmp_path):
    """The VLM's logits become NaN while it trains; weights that are NaN from the start are refused before."""

    def lose(module, given, output):
        if hasattr(output, "logits"):
            output.logits = output.logits * torch.nan

    hook = register_module_forward_hook(lose)
    try:
        line = refused([*small, "--out", str(tmp_path / "run")])
    finally:
        hook.remove()
    assert "soft_topk diverged: loss nan" in line
    assert "try a lower --rate" in line


@contextmanager
def interrupted_after_step(out, number):
    """Ctrl-C as soon as the scorer runs after the state of this step is on disk."""

    def forward(module, given):
        if isinstance(module, Scorer) and has_state(state) and read_counters(state)["step"] == number:
            raise KeyboardInterrupt

    state = out.with_name(f"{out.name}.state")
    hook = register_module_forward_pre_hook(forward)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.slow
def test_an_interrupted_run_says_that_the_same_command_goes_on_and_it_does(small, tmp_path, capsys):
    out = tmp_path / "run"
    command = [*small, "--steps", "2", "--save-every", "1", "--dev-every", "1", "--out", str(out)]
    with interrupted_after_step(out, 1), pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "grip-vlm: interrupted; the same command goes on where it was"
    main(command)
    assert "resuming soft_topk at step 1 from" in capsys.readouterr().err


# ---- what a run starts from, and what it leaves beside it ------------------------------------------------------------


@pytest.mark.slow
def test_a_relaxation_goes_on_from_the_scorer_it_is_given(small, done, tmp_path):
    main([*small, "--init", str(done), "--out", str(tmp_path / "more")])
    main([*small, "--out", str(tmp_path / "new")])
    begun, more, new = (load_file(at / "scorer.safetensors") for at in (done, tmp_path / "more", tmp_path / "new"))
    assert all(torch.equal(new[name], weight) for name, weight in begun.items())  # the same seed gives the same
    assert not all(torch.equal(more[name], weight) for name, weight in begun.items())


@pytest.mark.slow
def test_curves_outlive_the_run_and_do_not_bar_it_from_going_on(small, tmp_path):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    command = [*small, "--steps", "2", "--save-every", "1", "--log", "tensorboard", "--out", str(out)]
    with interrupted_after_step(out, 1), pytest.raises(SystemExit):
        main(command)
    assert list((tmp_path / "run.log").rglob("events.*"))
    main(command)
    assert list((tmp_path / "run.log").rglob("events.*"))
    assert sorted(path.name for path in out.iterdir()) == ["scorer.json", "scorer.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "one_pass"), [("0", True), ("0.5", False)])
def test_a_relaxation_selects_as_it_was_trained_and_a_warm_up_one_token_after_another(
    share, one_pass, small, vlm, tmp_path
):
    main([*small, "--steps", "2", "--attention-share", share, "--out", str(tmp_path / "run")])
    assert checkpoint.load(tmp_path / "run", vlm).config.one_pass == one_pass


def test_an_imitation_of_a_rival_is_not_mixed_with_a_relaxation(mistake, tmp_path):
    line = mistake(["warmup", "--imitation", "distribution", "--out", str(tmp_path / "run")])
    assert line.startswith("grip-vlm: imitation 'distribution' is a rival's whole training: give attention_share 1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imitation", "method"), [("distribution", "attention_distill"), ("bernoulli", "tprl_start"), ("subset", "warmup")]
)
def test_a_warm_up_by_a_rivals_imitation_is_saved_under_its_name(imitation, method, small, tmp_path):
    main([*small, "--imitation", imitation, "--attention-share", "1", "--out", str(tmp_path / "run")])
    assert checkpoint.read_notes(tmp_path / "run")["provenance"]["method"] == method


@pytest.mark.slow
def test_the_tprl_like_rival_goes_on_from_its_imitation(tmp_path, vlm_dir):
    small = ["--examples", "4", "--dev-examples", "2", "--steps", "1", "--batch", "2", "--vlm", str(vlm_dir)]
    start, out = str(tmp_path / "start"), tmp_path / "tprl"
    main(["warmup", "--imitation", "bernoulli", "--attention-share", "1", "--width", "16", "--out", start, *small])
    main(["ppo", "--init", start, "--out", str(out), *small])
    assert checkpoint.read_notes(out)["provenance"]["method"] == "tprl"
    assert pruners.load("tprl", scorer=out).checkpoint.startswith(str(out))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "method"),
    [("sequential", "grip"), ("gibbs", "grip"), ("plackett_luce", "grip"), ("textbook", "grip_like")],
)
def test_train_goes_on_from_a_warm_up_by_the_policy_it_is_given(policy, method, done, vlm_dir, tmp_path):
    few = ["--examples", "2", "--dev-examples", "2", "--steps", "1", "--batch", "2", "--group", "2"]
    out = tmp_path / "run"
    main(["train", "--vlm", str(vlm_dir), "--init", str(done), "--out", str(out), "--policy", policy, *few])
    assert checkpoint.read_notes(out)["provenance"]["method"] == method
    before, after = load_file(done / "scorer.safetensors"), load_file(out / "scorer.safetensors")
    assert before.keys() == after.keys()
