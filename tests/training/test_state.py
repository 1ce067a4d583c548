"""A run's state comes back bit for bit, without a pickle."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from grip_vlm.training import state


def run(seed=0):
    """A module and its AdamW, whose second group has a rate of its own."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    groups = [{"params": module[0].parameters()}, {"params": module[2].parameters(), "lr": 1 / 3}]
    return module, torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)


def step(module, optimizer, times=3):
    for i in range(times):
        optimizer.zero_grad()
        module(torch.linspace(-1, 1 + i, 20).reshape(5, 4)).square().mean().backward()
        optimizer.step()


def same(one, two):
    """Bit-identical state dicts of a module and its optimizer."""
    left, right = (tensors(*pair) for pair in (one, two))
    return left.keys() == right.keys() and all(
        torch.equal(left[key], right[key]) and left[key].dtype == right[key].dtype for key in left
    )


def tensors(module, optimizer):
    inner = {(index, key): value for index, of in optimizer.state_dict()["state"].items() for key, value in of.items()}
    return {**module.state_dict(), **inner}


def load(folder, module, optimizer):
    return state.load_state(folder, {"module": module}, {"adamw": optimizer})


@pytest.fixture
def saved(tmp_path):
    module, optimizer = run()
    step(module, optimizer)
    state.save_state(tmp_path / "state", {"module": module}, {"adamw": optimizer}, {"step": 3, "seconds": 0.1})
    return tmp_path / "state", module, optimizer


def test_a_state_comes_back_bit_for_bit(saved):
    folder, *before = saved
    after = run(seed=1)
    assert not same(before, after)
    load(folder, *after)
    assert same(before, after)


def test_a_resumed_run_goes_on_as_if_never_stopped(saved):
    folder, *before = saved
    after = run(seed=1)
    load(folder, *after)
    step(*before)
    step(*after)
    assert same(before, after)


def test_the_optimizers_settings_come_back(saved):
    folder, _, optimizer = saved
    module = run(seed=1)[0]
    after = torch.optim.AdamW([{"params": module[0].parameters()}, {"params": module[2].parameters()}])
    load(folder, module, after)
    for group, other in zip(after.param_groups, optimizer.param_groups, strict=True):
        assert (group["lr"], group["weight_decay"]) == (other["lr"], other["weight_decay"])
        assert tuple(group["betas"]) == tuple(other["betas"])


def test_counters_come_back(saved):
    assert load(saved[0], *run()) == {"step": 3, "seconds": 0.1}


def test_no_file_of_a_state_is_a_pickle(saved):
    assert sorted(path.name for path in saved[0].iterdir()) == ["state.json", "state.safetensors"]
    assert isinstance(json.loads((saved[0] / "state.json").read_text()), dict)
    assert load_file(saved[0] / "state.safetensors")


def test_a_folder_without_a_state_has_none(tmp_path):
    assert not state.has_state(tmp_path / "state")


def test_a_state_that_a_kill_left_aside_while_it_was_replaced_is_found(saved):
    folder, *before = saved
    os.replace(folder, folder.with_name(".state.old"))
    assert state.has_state(folder)
    after = run(seed=1)
    load(folder, *after)
    assert same(before, after)
