"""recipes/published: its scripts are run against stand-ins, and every command they give is one that would start."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from grip_vlm import benchmarks, cli, pruners
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import parse_shard
from grip_vlm.pruners.inside import Inside
from grip_vlm.pruners.scored import Scored
from grip_vlm.vlms.early import SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "published"
README = (FOLDER / "README.md").read_text()
STAND_IN = """#!/bin/sh
{ basename "$0"; printf '%s\\n' "$@"; echo; } >> calls
"""
CALLS = [
    ("scorer.sh", "llava-hf/llava-1.5-7b-hf", "mine.jsonl", "runs/scorer"),
    ("llava-1.5-7b.sh", "2", "8"),
    ("qwen2.5-vl-7b.sh", "1", "1"),
    ("lmms-eval.sh", "llava"),
    ("lmms-eval.sh", "qwen"),
    ("report.sh", "llava-1.5-7b"),
]
SHAPES = {  # tokens, layers, and what the language model calls itself
    "llava-hf/llava-1.5-7b-hf": (576, 32, "llama"),
    "Qwen/Qwen2.5-VL-7B-Instruct": (1300, 28, "qwen2_5_vl_text"),
}
every_call = pytest.mark.parametrize("call", CALLS, ids=" ".join)


def run(call, folder):
    """The script in a folder where grip-vlm and lmms-eval only write down their arguments."""
    for name in ("grip-vlm", "lmms-eval"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    path = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", FOLDER / call[0], *call[1:]], cwd=folder, env=path, capture_output=True, text=True)


def commands(call, folder):
    """(program, its arguments) of every command of a script."""
    done = run(call, folder)
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().split("\n\n")[:-1]
    return [(lines[0], lines[1:]) for lines in map(str.splitlines, calls)]


def usable(name, budgets, vlm):
    """A pruner's flag names a method that can keep as little, and a trained one says its scorer."""
    name, _, scorer = name.partition("=")
    method = type(pruners.load(name, scorer="tiny-llava" if scorer else None))
    assert issubclass(method, Scored) == bool(scorer)
    tokens, layers, kind = SHAPES[vlm]
    assert name not in ("dart", "ptp") or kind in SUPPORTED
    for budget in budgets if issubclass(method, Inside) else []:
        pruners.load(name).plan(tokens, Budget.parse(budget).k(tokens), layers)
    return method


@every_call
def test_every_command_of_the_scripts_would_start(call, tmp_path):
    arguments = model_arguments()
    for program, words in commands(call, tmp_path):
        if program == "lmms-eval":
            given = dict(pair.split("=", 1) for pair in words[words.index("--model_args") + 1].split(","))
            assert set(given) <= arguments
            name = given["pruner"] + (f"={given['scorer']}" if "scorer" in given else "")
            assert not issubclass(usable(name, [given["budget"]], given["pretrained"]), Inside)
            continue
        command = cli.parse(words[0], words[1:])
        if words[0] == "evaluate":
            assert parse_shard(command.shard) == tuple(map(int, call[1:]))
            for name in command.benchmarks.split(","):
                benchmarks.load(name)
            for name in command.pruners.split(","):
                usable(name, command.budgets.split(","), command.vlm)


def model_arguments():
    """What `--model_args` may have; lmms-eval itself is not installed here."""
    tree = ast.parse((ROOT / "src/grip_vlm/serving/lmms_eval.py").read_text())
    model = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "GripVLM")
    init = next(node for node in model.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {argument.arg for argument in init.args.kwonlyargs}


def test_parts_write_to_files_of_their_own_that_the_report_reads(tmp_path):
    for program, words in commands(("llava-1.5-7b.sh", "2", "8"), tmp_path):
        assert program == "grip-vlm"
        assert cli.parse(words[0], words[1:]).out == Path("runs/published/llava-1.5-7b/rows-2.jsonl")
    (tmp_path / "calls").unlink()
    for part in (1, 2):
        rows = tmp_path / f"runs/published/llava-1.5-7b/rows-{part}.jsonl"
        rows.parent.mkdir(parents=True, exist_ok=True)
        rows.touch()
    [(_, words)] = commands(("report.sh", "llava-1.5-7b"), tmp_path)
    assert [path.name for path in cli.parse(words[0], words[1:]).rows] == ["rows-1.jsonl", "rows-2.jsonl"]


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.sh")))
def test_a_script_without_its_arguments_says_what_they_are(script, tmp_path):
    done = run((script,), tmp_path)
    assert done.returncode != 0
    assert f"usage: {script}" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_the_commands_of_the_page_are_those_of_the_scripts():
    lines = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file()
            assert words[1].rpartition("/")[2] in {call[0] for call in CALLS}
        else:
            assert words[:2] == ["grip-vlm", "flops"]
            for name in cli.parse("flops", words[2:]).pruners.split(","):
                assert pruners.load(name)


def test_the_estimate_on_the_page_is_what_its_script_prints():
    printed = subprocess.run(
        [sys.executable, FOLDER / "estimate.py"], capture_output=True, text=True, check=True
    ).stdout
    assert f"<!-- estimate -->\n{printed}<!-- /estimate -->" in README


def test_published_averages_follow_from_the_rows_they_stand_behind():
    """A slip in copying would show. FastV at 64 tokens is wrong at the source, and the page says so."""
    page = (ROOT / "docs" / "published.md").read_text()
    checked = 0
    for full in ("| 576 | vanilla |", "| 100% | base |"):
        whole = None
        for line in page[page.index(full) :].split("\n\n")[0].splitlines():
            label, values = line.split("|")[1:3], [float(cell) for cell in line.split("|")[3:-1]]
            whole = whole or values
            mean = 100 * sum(a / b for a, b in zip(values[:-1], whole[:-1], strict=True)) / len(values[:-1])
            if [word.strip() for word in label] != ["64", "FastV"]:
                assert abs(mean - values[-1]) < 0.11, line
            checked += 1
    assert checked == 25 + 19
