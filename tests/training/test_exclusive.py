"""One process at a time writes to a path; its lock ends with it, and what a killed process left is removed."""

import subprocess
import sys

import pytest

from grip_vlm.files import exclusive

HOLD = "import sys, time; from pathlib import Path; from grip_vlm.files import exclusive\n"
HOLD += "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused(holder, tmp_path):
    with pytest.raises(ValueError, match=r"another process is writing to .*run; wait"), exclusive(tmp_path / "run"):
        pass


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait()
    with exclusive(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_removed_and_nothing_of_others(tmp_path):
    (tmp_path / ".run.17.tmp").mkdir()
    (tmp_path / ".run.17.tmp" / "half").write_text("")
    (tmp_path / ".run.18.tmp").write_text("")
    others = {".run.b.17.tmp", "run.17.tmp", ".run.tmp", "run"}
    for name in others:
        (tmp_path / name).write_text("")
    with exclusive(tmp_path / "run"):
        assert {path.name for path in tmp_path.iterdir()} == others | {".run.lock"}
    assert {path.name for path in tmp_path.iterdir()} == others


@pytest.mark.parametrize("path", ["/dev/null/run", "nul\0byte/run"])
def test_a_path_that_cannot_be_written_is_named(path, tmp_path):
    with pytest.raises(OSError, match=r"run' cannot be written: "), exclusive(tmp_path / path):
        pass
