"""The commands and the Python of the section on batch jobs run as they stand."""

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("ray")

from grip_vlm import cli

ROOT = Path(__file__).resolve().parents[3]
SECTION = (ROOT / "docs" / "serving.md").read_text().partition("## `grip-vlm batch`")[2].partition("\n## ")[0]


@pytest.mark.slow
def test_the_command_of_the_document_answers_and_its_python_prints_the_answers(capsys, examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"image": f"{i}.png", "question": example.question} for i, example in enumerate(examples[:3])]
    for row, example in zip(rows, examples, strict=False):
        example.image.save(row["image"])
    Path("questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (bash,), (python,) = (
        re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL) for language in ("bash", "python")
    )
    (command,) = [line for line in bash.splitlines() if line.startswith("grip-vlm")]
    cli.main(shlex.split(command, comments=True)[1:])
    assert "3 rows in answers, 60 of 588 visual tokens kept\n" in capsys.readouterr().out
    exec(compile(python, "docs/serving.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
