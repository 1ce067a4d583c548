"""One random tiny-llava on disk, built once per session, and a few examples to ask it about."""

import os

# Set before the libraries that read them are imported. A test never reaches for the hub. Tiny models are fastest on one
# core, and the workers of `pytest -n 2` share the cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import tiny

import build
from grip_vlm import cli, vlms
from grip_vlm.benchmarks.data import load_examples

# Families that between them have features in a list and in a tensor, and one- and three-dimensional positions.
QUICK = {"llava", "llava_next", "qwen2_5_vl", "gemma3"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of what is tested for every family, `make quick` tests a few families."""
    others = set(tiny.names()) - QUICK
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if others & {value for value in values if isinstance(value, str)}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def vlm_dir(tmp_path_factory):
    """A checkpoint as `from_pretrained` wants it; its weights are random, its tokenizer has seen 150 scenes."""
    folder = tmp_path_factory.mktemp("vlm")
    processor = build.build_processor(scenes=150)  # the recipe's 3000 take seven seconds
    build.build_model(len(processor.tokenizer), seed=0).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vlm(vlm_dir):
    return vlms.load(str(vlm_dir), device="cpu")


@pytest.fixture(scope="session")
def examples():
    """Two of each benchmark."""
    return load_examples("scenes", "train", 12)


@pytest.fixture
def mistake(capsys):
    """Run the command line on arguments that must fail the right way; returns the line on stderr."""

    def run(arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        printed = capsys.readouterr()
        assert stop.value.code == 2
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("grip-vlm: ")
        assert "Traceback" not in line
        return line

    return run
