"""docs/auto-budget.md: its Python and its command run as they stand."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from grip_vlm import benchmarks, calibration, checkpoint, cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "auto-budget.md").read_text()


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_python_of_the_page_answers_with_a_budget_for_each_question(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(block("python"), "auto-budget.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    kept = [int(re.search(r"from (\d+) of 196 tokens$", line)[1]) for line in lines]
    assert len(kept) == 2
    assert all(1 <= k <= 196 for k in kept)


@pytest.mark.slow
def test_the_command_of_the_page_calibrates_a_scorer(monkeypatch, tmp_path, capsys):
    """With a drop so large that a few images are enough for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint.locate("tiny-llava"), "runs/grip")
    (tmp_path / "runs" / "grip" / calibration.NOTES).unlink(missing_ok=True)
    with open("mine.jsonl", "w", encoding="utf-8") as file:
        for i in range(60):
            example = benchmarks.example("presence", "train", i)
            example.image.save(f"{i}.png")
            row = {"image": f"{i}.png", "question": example.question, "answers": list(example.answers)}
            file.write(json.dumps(row) + "\n")
    command = shlex.split(block("bash"), comments=True)[1:]
    cli.main([*command, "--max-drop", "0.6", "--confidence", "0.6", "--train-examples", "6"])
    notes = calibration.read_notes(tmp_path / "runs" / "grip")
    assert next((p.max_drop, p.method) for p in notes.promised()) == (0.6, "learn_then_test")
    assert "auto:0.6:0.6  learn_then_test" in capsys.readouterr().out
