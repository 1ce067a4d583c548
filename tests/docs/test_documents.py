"""Documents stay true: the README's commands and its Python run, and every link leads somewhere."""

import dataclasses
import json
import re
import shlex
import shutil
import tomllib
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

from grip_vlm import benchmarks, cli, vlms

ROOT = Path(__file__).resolve().parents[2]
HUB = "Qwen/Qwen2.5-VL-7B-Instruct"
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), *ROOT.glob("re*/**/*.md")]
QUICK = {
    "warmup": "--steps 2 --batch 2 --dev-examples 2 --dev-every 2 --width 16",
    "train": "--steps 1 --batch 2 --dev-examples 2 --group 2",
    "evaluate": "--limit 1",
    "bench": "--repeats 1 --batch 1 --new-tokens 2",
}
pytestmark = pytest.mark.skipif("tiny-llava" not in vlms.shipped(), reason="no VLM is shipped yet")


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the files the README speaks of."""
    monkeypatch.chdir(tmp_path)
    examples = [benchmarks.example("pointing", "train", i) for i in range(12)]
    examples[0].image.save("scene.png")
    shutil.copytree(ROOT / "docs", "docs", ignore=shutil.ignore_patterns("*.md"))
    with open("mine.jsonl", "w", encoding="utf-8") as file:
        for i, example in enumerate(examples):
            example.image.save(f"{i}.png")
            row = {"image": f"{i}.png", "question": example.question, "answers": list(example.answers)}
            file.write(json.dumps(row) + "\n")
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_they_stand(desk):
    """In their order, with fewer steps and items."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("grip-vlm")]
    lines = [line for line in lines if line.split()[1] != "page"]  # it serves without end: tests/serving/page starts it
    assert len(lines) >= 7
    for line in lines:
        command = shlex.split(line, comments=True)[1:]
        cli.main([*command, *QUICK.get(command[0], "").split()])
    made = (
        "kept.png",
        "rows.jsonl",
        "frontier.png",
        "table.md",
        "runs/stage1/scorer.json",
        "runs/grip/scorer.json",
        "report/report.md",
    )
    for name in made:
        assert (desk / name).is_file(), name


@pytest.mark.slow
def test_the_commands_of_the_larger_world_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "world.md").read_text()
    lines = [line for block in blocks("bash", text) for line in block.splitlines() if line.startswith("grip-vlm")]
    assert len(lines) >= 3
    for line in lines:
        command = shlex.split(line, comments=True)[1:]
        few = "--examples 4 --looked 4" if command[0] == "warmup" else ""
        cli.main([*command, *QUICK[command[0]].split(), *few.split()])
    assert {path.name for path in tmp_path.iterdir()} >= {"spread.jsonl", "reading.jsonl", "runs"}


def test_the_python_of_the_readme_prints_what_the_readme_shows(desk, capsys):
    """The shipped VLM takes the place of the one on the hub, whose output is not shown."""
    shipped = str(files("grip_vlm") / "assets" / "tiny-llava")
    first, one_line = blocks("python")
    exec(compile(first, "README.md", "exec"), {})
    assert capsys.readouterr().out == blocks("text")[0]
    assert HUB in one_line
    exec(compile(one_line.replace(HUB, shipped), "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_readme_shows_the_table_of_families_as_it_was_measured():
    table = (ROOT / "results" / "families.md").read_text()
    assert table in README
    listed = {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")} - {"family"}
    assert set(vlms.verified()) <= listed
    assert "NO" not in table


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize(("section", "others"), [("serve", []), ("batch", ["evaluate"]), ("page", [])])
def test_the_flags_of_a_way_to_serve_are_those_of_its_command(section, others):
    """Up to what other programs are told."""
    text = (ROOT / "docs" / "serving.md").read_text().partition(f"## `grip-vlm {section}`")[2].partition("\n## ")[0]
    commands = [import_module(f"grip_vlm.commands.{name}").Command for name in (section, *others)]
    known = {f"--{field.name.replace('_', '-')}" for command in commands for field in dataclasses.fields(command)}
    shown = set(re.findall(r"--[a-z][a-z-]+", text.partition("**As a Hugging Face Space.**")[0]))
    assert shown
    assert shown <= known


def test_the_extras_that_documents_install_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = {
        name.strip()
        for document in DOCUMENTS
        for names in re.findall(r"pip install [^\n]*\[([a-z, ]+)\]", document.read_text())
        for name in names.split(",")
    }
    assert {"serve", "batch", "page"} <= shown <= set(extras)


def test_the_guide_shows_the_family_it_ports_as_it_is():
    guide = (ROOT / "docs" / "port-a-model.md").read_text()
    for file in ("src/grip_vlm/vlms/families/aya_vision.py", "tests/tiny/aya_vision.py"):
        assert (ROOT / file).read_text() in guide, file
