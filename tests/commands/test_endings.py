"""A command that is ended, or for which disk or memory have no room, says so in a sentence and can go on."""

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from grip_vlm.cli import main
from grip_vlm.training.state import read_counters

SMALL = "--examples 4 --dev-examples 2 --batch 2 --dev-every 50 --save-every 1 --width 16 --attention-share 1"


def start(vlm_dir, out, more, **options):
    """The command in a process of its own."""
    words = [sys.executable, "-m", "grip_vlm.cli", "warmup", "--vlm", str(vlm_dir), "--out", str(out)]
    words += [*shlex.split(SMALL), *shlex.split(more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def wait_for(path, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def killed(vlm_dir, tmp_path_factory):
    """A run of many steps that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    process = start(vlm_dir, folder / "run", "--steps 100000")
    wait_for(folder / "run.state")
    process.kill()
    process.communicate(timeout=60)
    return folder


@pytest.fixture
def folder(killed, tmp_path):
    """A copy of what the killed run left."""
    return shutil.copytree(killed, tmp_path / "copy")


def listen():
    """Ctrl-C is heard even where the tests run in the background of a shell, which has what it starts ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "word", "code"), [("SIGTERM", "terminated", 143), ("SIGINT", "interrupted", 130)])
def test_a_killed_run_goes_on_and_says_at_its_end_that_it_can_go_on_again(sent, word, code, vlm_dir, folder):
    process = start(vlm_dir, folder / "run", "--steps 100000", preexec_fn=listen)
    assert process.stderr.readline().startswith("resuming warmup at step ")
    wait_for(folder / ".run.lock")
    process.send_signal(getattr(signal, sent))
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert printed.splitlines()[-1] == f"grip-vlm: {word}; the same command goes on where it was"
    assert "Traceback" not in printed
    assert read_counters(folder / "run.state")["step"] >= 1
    assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_nothing_but_lines_is_written_where_there_is_no_terminal(vlm_dir, tmp_path):
    process = start(vlm_dir, tmp_path / "run", "--steps 2")
    out, printed = process.communicate(timeout=120)
    assert out.startswith(("scorer written to ", "no step beat the start"))
    (line,) = printed.splitlines()
    assert line.startswith("warmup 2/2 ")
    log = (tmp_path / "run.log.txt").read_text()
    assert "encoding images 4/4, about 0 s left" in log
    assert " warmup 1/2 " in log
    assert "left" in log.splitlines()[-3]
    assert all(part.strip() for part in log.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("what", ["state", "features"])
def test_a_full_disk_is_a_sentence_and_what_was_there_is_intact(what, vlm_dir, folder):
    """A limit on the size of files stands for the disk."""
    if what == "features":
        shutil.rmtree(folder / "run.features")
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    room = max(map(len, before.values())) // 2

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    process = start(vlm_dir, folder / "run", "--steps 100000", preexec_fn=limit)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2, printed
    assert "Traceback" not in printed
    last = printed.splitlines()[-1]
    assert last.startswith(f"grip-vlm: {folder}/run.{what}")
    assert "cannot be written" in last
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in folder.rglob(".*") if path.suffix in (".tmp", ".lock")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), MemoryError()], ids=str
)
def test_memory_that_runs_out_is_a_sentence_with_what_to_try(error, vlm_dir, tmp_path, capsys):
    """The language model has no room for a single prompt."""

    def refuse(module, inputs):
        if type(module).__name__ == "LlavaForConditionalGeneration":
            raise error

    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        with pytest.raises(SystemExit) as stop:
            main(["warmup", "--vlm", str(vlm_dir), "--out", str(tmp_path / "run"), *SMALL.split(), "--steps", "1"])
    finally:
        hook.remove()
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("grip-vlm: out of memory (")
    assert "try a smaller --batch or --micro-batch" in last
