"""How the page starts and ends."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from toolkit.site import needs_gradio, running

from grip_vlm.commands.page import Command


@needs_gradio
@pytest.mark.slow
def test_the_commands_of_the_documents_start_a_page(tmp_path):
    root = Path(__file__).resolve().parents[3]
    texts = [(root / name).read_text() for name in ("README.md", "docs/serving.md")]
    found = [re.findall(r"^grip-vlm (page\b[^#\n]*)", text, re.MULTILINE) for text in texts]
    assert all(found)
    for command in {line.strip() for lines in found for line in lines}:
        with running(tmp_path, ["-m", "grip_vlm.cli", *shlex.split(command)]) as site:
            assert site.process.poll() is None


@needs_gradio
@pytest.mark.slow
def test_a_stopped_page_leaves_no_upload_and_ends_well(tmp_path):
    import httpx

    with running(tmp_path, ["-m", "grip_vlm.cli", "page", "--pruners", "random"]) as site:
        Image.new("RGB", (30, 20)).save(tmp_path / "sent.png")
        content = (tmp_path / "sent.png").read_bytes()
        (tmp_path / "sent.png").unlink()
        sent = httpx.post(f"{site.url}/gradio_api/upload", files={"files": ("private.png", content)})
        assert sent.status_code == 200
        assert site.files("private.png")
        assert site.end() == 0
        assert not site.files("private.png")


@pytest.mark.parametrize("flags", [{"port": 0}, {"port": 70000}, {"queue": 0}, {"megabytes": 0}])
def test_impossible_numbers_are_refused(flags):
    with pytest.raises(ValueError, match="must be"):
        Command(**flags)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--pruners", "nonsense"], "unknown pruner 'nonsense'"),
        (["--pruners", "random,random"], "stands twice"),
        (["--pruners", "warmup"], "give the folder of its scorer"),
        (["--vlms", "no-such-vlm"], "no scorer is shipped for 'no-such-vlm'"),
        (["--vlms", "no-such-vlm", "--pruners", "random"], "no VLM 'no-such-vlm'"),
    ],
)
@needs_gradio
def test_what_cannot_be_offered_is_refused_before_the_page_starts(mistake, flags, sentence):
    assert sentence in mistake(["page", *flags])
