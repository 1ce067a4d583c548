"""What every bad input of the command line must meet, and a folder in which bad inputs are tried."""

import os
import resource
import signal
import stat
import time
from contextlib import contextmanager

import pytest
from PIL import Image
from toolkit.rows import rows, write

from grip_vlm import cli

SECONDS, MEMORY = 10, 2 * 2**30  # of processor time, and of address space beyond what the process has
HANGS = 120  # seconds on the clock, for machines that do other things as well


class Hung(BaseException):
    """No command catches it."""


@contextmanager
def bounded():
    """Inside, time and memory are short: a command that waits for ever or allocates gigabytes fails."""

    def hang(number, frame):
        raise Hung(f"no answer after {HANGS} seconds")

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.alarm(HANGS)
    start = time.process_time()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - start < SECONDS


def contents(folder):
    """Every path below a folder with its kind, size and time of change."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (stat.S_IFMT(it.st_mode), it.st_size, it.st_mtime_ns) for path, it in found.items()}


@pytest.fixture(scope="session", autouse=True)
def _imported(vlm):
    """What a first command imports is no part of a case's time and memory."""
    import datasets  # noqa: F401

    import grip_vlm.report.figures
    import grip_vlm.training.launch  # noqa: F401


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which commands run: a picture, rows, and paths of every wrong kind."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("scene.png")
    write(tmp_path / "good.jsonl", rows("grip", {"one": [1.0, 0.0]}) + rows("full", {"one": [1.0, 1.0]}))
    (tmp_path / "questions.jsonl").write_text('{"image": "scene.png", "question": "What?"}')
    (tmp_path / "file").write_text("words")
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    os.mkfifo("pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.fixture
def refused(folder, capfd):
    """Run a command that must be refused; returns the line on stderr.

    Code 2, one printable line that begins with the program's name and holds one of `names`, nothing on stdout, nothing
    new or changed in the folder, within `bounded`.
    """

    def run(arguments, *names):
        before = contents(folder)
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop, bounded():
            cli.main(arguments)
        printed = capfd.readouterr()
        assert stop.value.code == 2, printed.err
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith("grip-vlm: ")
        assert "Traceback" not in line
        assert line.isprintable()
        assert len(line) < 20_000
        assert any(name in line for name in names), line
        assert contents(folder) == before
        return line

    return run
