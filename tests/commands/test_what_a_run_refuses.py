"""A run refuses what is not its own before it costs anything, and says how it ended."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from grip_vlm.cli import main
from grip_vlm.files import exclusive

FEW = "--examples 100 --dev-examples 100 --steps 2 --batch 2 --dev-every 2 --save-every 1"


def write_rows(folder, rows=20):
    """Own data: a row is an image of one colour, a question and an answer."""
    (folder / "images").mkdir(parents=True)
    for row in range(rows):
        Image.new("RGB", (40, 30), (10 * row, 0, 0)).save(folder / "images" / f"{row}.png")
    written = [{"image": f"{row}.png", "question": f"Is it {row}?", "answers": [str(row)]} for row in range(rows)]
    write_lines(folder, written)
    return folder / "data.jsonl"


def write_lines(folder, rows):
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(folder):
    return [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def command(vlm_dir):
    return ["warmup", "--vlm", str(vlm_dir), *FEW.split(), "--width", "16", "--attention-share", "0.5"]


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    """A finished run on own data."""
    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder)
    with contextlib.chdir(folder):
        main([*command, "--data", "data.jsonl", "--out", "run"])
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A copy of the finished run and its data, in which commands then run."""
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))
    return tmp_path / "copy"


def change_answers(folder):
    write_lines(folder, [{**row, "answers": ["no"]} for row in read_lines(folder)])


def change_questions(folder):
    write_lines(folder, [{**row, "question": "Why?"} for row in read_lines(folder)])


def change_images(folder):
    for path in (folder / "images").iterdir():
        pixels = np.array(Image.open(path))
        pixels[0, 0] += 1
        Image.fromarray(pixels).save(path)


CHANGES = [change_answers, change_questions, change_images]


# ---- changed data ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ended", [True, False], ids=["finished", "stopped"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_refuses_changed_data_by_name(change, ended, refused, command, folder):
    if not ended:
        shutil.rmtree(folder / "run")
    change(folder)
    line = refused([*command, "--data", "data.jsonl", "--out", "run"])
    assert "run.state holds a run with other settings (data); give the same settings" in line


def test_data_at_another_place_are_the_same_data(command, folder, capsys):
    shutil.move(folder / "data.jsonl", folder / "moved.jsonl")
    main([*command, "--data", "moved.jsonl", "--out", "run"])
    assert capsys.readouterr().out.startswith("this run was finished before: ")


@pytest.mark.parametrize("flags", ["--save-every 7", "--micro-batch 1", "--features elsewhere"])
def test_a_harmless_change_is_no_other_run(flags, command, folder, capsys):
    main([*command, "--data", "data.jsonl", "--out", "run", *flags.split()])
    assert capsys.readouterr().out.startswith("this run was finished before: ")


# ---- how a run ends --------------------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_writes_nothing(command, folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    main([*command, "--data", "data.jsonl", "--out", "run"])
    assert "this run was finished before: scorer written to run (dev " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_run_that_never_beats_its_start_says_so(finished, vlm_dir, tmp_path, capsys):
    """Trained on the shipped VLM, whose scorer is good already, with a rate that ruins it."""
    words = ["--init", "tiny-llava", "--out", str(tmp_path / "run"), "--rate", "0.9", "--features", str(tmp_path / "f")]
    few = "--examples 12 --dev-examples 12 --steps 3 --batch 4 --dev-every 1 --group 2"
    main(["train", *words, *few.split()])
    line = capsys.readouterr().out
    assert line.startswith(f"no step beat the start; the start's weights were kept in {tmp_path}/run (dev ")


# ---- what is refused before anything costs ---------------------------------------------------------------------------


@pytest.fixture
def nowhere(command):
    """The command with a VLM that does not exist: whatever is refused first is refused before a VLM is loaded."""
    return [*command, "--vlm", "no/such-model"]


def test_other_settings_are_refused_before_the_vlm_is_loaded(refused, nowhere, folder):
    line = refused([*nowhere, "--data", "data.jsonl", "--out", "run", "--rate", "0.01"])
    assert "run.state holds a run with other settings (rate)" in line


def test_other_data_are_refused_before_the_vlm_is_loaded(refused, nowhere, folder):
    change_answers(folder)
    line = refused([*nowhere, "--data", "data.jsonl", "--out", "run"])
    assert "run.state holds a run with other settings (data)" in line


def test_a_foreign_folder_is_refused_before_data_are_read(refused, nowhere, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    line = refused([*nowhere, "--data", "no.jsonl", "--out", str(tmp_path)])
    assert f"{tmp_path} holds something else than a scorer" in line
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_refused_before_data_are_read(refused, nowhere, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused([*nowhere, "--data", "no.jsonl", "--out", str(tmp_path / "file" / "run")])
    assert "file/run' cannot be written: " in line


def test_two_runs_do_not_write_one_folder(refused, nowhere, tmp_path):
    with exclusive(tmp_path / "run"):
        line = refused([*nowhere, "--out", str(tmp_path / "run")])
    assert f"another process is writing to {tmp_path}/run; wait for it, or give another --out" in line


def test_a_second_run_removes_what_a_killed_one_left(command, folder):
    left = [folder / ".run.17.tmp", folder / ".run.state.17.tmp"]
    for path in left:
        path.mkdir()
        (path / "half").write_text("")
    main([*command, "--data", "data.jsonl", "--out", "run"])
    assert not any(path.exists() for path in left)
    assert not list(folder.glob(".*"))
