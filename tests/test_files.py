"""Writing that is cut off leaves what was there."""

import os

import pytest
from torch import nn

from grip_vlm import files
from grip_vlm.training import state


def cut_off_at(call, monkeypatch):
    """The process dies at this rename."""
    left, replace = [call], os.replace

    def renamed(*paths):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", renamed)


@pytest.mark.parametrize("call", [1, 2])
def test_a_state_that_is_cut_off_while_it_is_replaced_leaves_the_one_before(call, tmp_path, monkeypatch):
    folder, module = tmp_path / "state", {"module": nn.Linear(2, 2)}
    state.save_state(folder, module, {}, {"step": 1})
    with monkeypatch.context() as patch:
        cut_off_at(call, patch)
        with pytest.raises(KeyboardInterrupt):
            state.save_state(folder, module, {}, {"step": 2})
    assert state.has_state(folder)
    assert state.load_state(folder, module, {}) == {"step": 1}


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
