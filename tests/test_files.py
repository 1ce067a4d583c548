"""Writing that is cut off leaves what was there."""

import os
import subprocess
import sys

import pytest

from grip_vlm import files


def cut_off_at(call, monkeypatch):
    """The process dies at this rename."""
    left, replace = [call], os.replace

    def renamed(*paths):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", renamed)


KILLED = """
import os, signal, sys
from pathlib import Path
from grip_vlm import files

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "ctypes.dlsym"}

def replace(folder, swap, limit):
    passed = [0]
    def watch(event, args):
        passed[0] += event in STEPS
        if passed[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    beside = folder.with_name("beside")
    beside.mkdir()
    (beside / "name").write_text("new")
    files.replace_folder(beside, folder, swap)

folder, swap = Path(sys.argv[1]) / "folder", {"exchange": files.exchange, "renames": lambda *paths: False}[sys.argv[2]]
limit = died = 0
while not limit or died:
    limit += 1
    for path in folder.parent.iterdir():
        files.shutil.rmtree(path, ignore_errors=True)
    folder.mkdir()
    (folder / "name").write_text("old")
    child = os.fork()
    if not child:
        replace(folder, swap, limit)
        os._exit(0)
    died = os.waitpid(child, 0)[1]
    if sys.argv[2] == "exchange":
        assert (folder / "name").is_file(), limit
    files.recover(folder)
    print((folder / "name").read_text())
"""


@pytest.mark.parametrize("way", ["exchange", "renames"])
def test_a_folder_whose_writer_is_killed_at_any_step_is_the_old_one_or_the_new_one(way, tmp_path):
    """With an exchange it is never missing; without one, the next process puts it back."""
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path, way], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert len(found) > 4
    assert set(found) == {"old", "new"}
    assert found == sorted(found, reverse=True)


def test_a_file_that_is_cut_off_while_it_is_replaced_is_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "table.md"
    files.write_text(path, "old")
    cut_off_at(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(path, "new")
    assert path.read_text() == "old"


def test_a_file_is_written_in_folders_that_are_made_and_nothing_stays_beside_it(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "table.md", "é")
    assert [path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()] == ["é".encode()]
