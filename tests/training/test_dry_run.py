"""A dry run tells the cost of a run from a few steps, and leaves nothing behind."""

import re

import pytest
from toolkit.training import fresh_scorer

from grip_vlm import checkpoint
from grip_vlm.cli import main
from grip_vlm.training.dry_run import stages_of, too_large
from grip_vlm.training.settings import GRPOConfig, RunConfig, WarmupConfig

FEW = "--data presence --examples 6 --dev-examples 4 --steps 10 --batch 2 --dev-every 5"


@pytest.fixture(scope="module")
def scorer(vlm, tmp_path_factory):
    """A scorer on disk."""
    folder = tmp_path_factory.mktemp("scorer") / "start"
    checkpoint.save(folder, fresh_scorer(vlm), checkpoint.Provenance("t", vlm.fingerprint(), "d", "m", 0, 0, 0))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "forwards", "parts"),
    [
        # 3 dev scores x 4 examples x 3 budgets, 6 looks, 5 relaxation steps of 2
        ("warmup --width 16 --attention-share 0.5", 36 + 6 + 10, "encoding, attention, imitation, relaxation, dev"),
        ("warmup --width 16 --attention-share 0 --budget 10%", 12 + 20, "encoding, relaxation, dev"),
        ("train --init {scorer}", 36 + 10 * 2 * 8, "encoding, steps, dev"),
        ("ppo --init {scorer}", 36 + 10 * 2, "encoding, steps, dev"),
    ],
)
def test_a_dry_run_counts_images_tokens_bytes_forwards_and_hours(
    command, forwards, parts, scorer, vlm_dir, tmp_path, capsys
):
    words = [*command.format(scorer=scorer).split(), *FEW.split(), "--vlm", str(vlm_dir), "--dry-run"]
    main([*words, "--out", str(tmp_path / "run")])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "images: 6 for training and 4 held out"
    assert lines[1] == "tokens per image: median 196, largest 196 (of 6 images)"
    assert re.match(r"encoded images: [\d.]+ MB on disk", lines[2])
    assert lines[3] == f"forwards: 10 images through the vision tower, {forwards} prompts through the language model"
    assert re.match(r"time: about [\de.-]+ h on this machine with one process \(", lines[4])
    assert all(part in lines[4] for part in parts.split(", "))
    assert lines[-1] == "everything fits"
    assert said.err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bytes_on_disk_are_those_that_a_run_writes(vlm_dir, tmp_path, capsys):
    words = ["warmup", "--vlm", str(vlm_dir), "--width", "16", *FEW.split(), "--out", str(tmp_path / "run")]
    main([*words, "--dry-run"])
    told = float(re.search(r"encoded images: ([\d.]+) MB", capsys.readouterr().out)[1]) * 1e6
    main([*words, "--steps", "1", "--attention-share", "1"])
    written = sum(path.stat().st_size for path in (tmp_path / "run.features").rglob("*.safetensors"))
    assert told == pytest.approx(written, rel=0.2)  # the files' headers, and questions of other lengths


def test_stages_follow_the_settings(tmp_path):
    warmup = WarmupConfig(out=tmp_path, steps=100, batch=4, attention_share=0.9)
    assert [(stage.name, stage.steps, stage.forwards) for stage in stages_of(warmup)] == [
        ("imitation", 90, 0),
        ("relaxation", 10, 40),
    ]
    (grpo,) = stages_of(GRPOConfig(out=tmp_path, steps=100, batch=4, group=8))
    assert grpo.forwards == 3200


def test_what_does_not_fit_is_said_with_what_to_do(tmp_path):
    config = RunConfig(out=tmp_path / "run")
    assert too_large(config, 1000) == ["everything fits"]
    disk, memory = too_large(config, 10**18)
    assert disk.startswith(f"does not fit: the encoded images take 1e+09 GB, {tmp_path} has ")
    assert "give --features on a larger disk" in disk
    assert memory.startswith("slower than measured: main memory has ")
