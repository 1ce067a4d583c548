"""The Hugging Face Space that the recipe assembles."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from toolkit.site import needs_gradio, running

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "space"
    subprocess.run([sys.executable, ROOT / "recipes" / "space" / "assemble.py", "--out", folder], check=True)
    return folder


@pytest.mark.slow
def test_the_card_names_the_app_and_the_gradio_that_was_tested(space):
    _, front, text = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    assert text.strip()
    assert (card["sdk"], card["license"]) == ("gradio", "apache-2.0")
    assert (space / card["app_file"]).is_file()
    assert f"gradio=={card['sdk_version']}\n" in (ROOT / "page-requirements.txt").read_text()
    assert len(card["short_description"]) <= 60  # the hub refuses longer ones


@pytest.mark.slow
def test_the_space_lists_what_the_package_needs(space):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (space / "requirements.txt").read_text().split("\n")[:-1] == project["dependencies"]


@needs_gradio
@pytest.mark.slow
def test_the_space_runs_by_itself(space, tmp_path):
    """Its own copy of the package is the one that runs: the copy's example takes another question here."""
    import httpx

    questions = space / "grip_vlm" / "assets" / "examples" / "questions.json"
    questions.write_text(questions.read_text().replace("What number is written?", "Which number is it?"))
    with running(tmp_path, [str(space / "app.py"), "--pruners", "random"], PYTHONPATH=None) as site:
        port = site.url.rpartition(":")[2]
        page = httpx.get(f"http://127.0.0.1:{port}")
        assert page.status_code == 200
        assert "Which number is it?" in page.text
