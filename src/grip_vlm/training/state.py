"""Training state on disk: weights, optimizer and counters, written so that a kill loses nothing.

Nothing here is random: every step draws from a generator seeded by (seed, step), so a state holds no generator and a
resumed run repeats the steps that an uninterrupted one would have made.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grip_vlm.files import new_folder, recover


def save_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    counters: Mapping[str, Any],
) -> None:
    """Save everything a run needs to go on.

    Args:
        folder: replaced as a whole.
        modules: their state dicts are saved.
        optimizers: their states are saved, tensors bit for bit.
        counters: anything JSON can hold, `step` among it.

    Raises:
        OSError: the disk is full or cannot be written; the state that was there is as it was.
    """
    tensors: dict[str, Tensor] = {}
    notes: dict[str, Any] = {"counters": dict(counters), "optimizers": {}}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"module/{name}/{key}"] = value.detach().clone().contiguous()
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for index, entry in state["state"].items():
            plain[str(index)] = {}
            for key, value in entry.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{name}/{index}/{key}"] = value.detach().clone().contiguous()
                else:
                    plain[str(index)][key] = value
        notes["optimizers"][name] = {"plain": plain, "param_groups": state["param_groups"]}
    with new_folder(folder) as beside:
        save_file(tensors, beside / "state.safetensors")
        (beside / "state.json").write_text(json.dumps(notes), encoding="utf-8")


def has_state(folder: Path) -> bool:
    """Whether `folder` (or the one a kill left while replacing it) holds a state; puts the latter back."""
    recover(folder)
    return (folder / "state.json").is_file()


def read_counters(folder: Path) -> dict[str, Any]:
    """The counters that `save_state` saved; no tensor is read.

    Raises:
        ValueError: the state is damaged.
    """
    with _damaged(folder):
        return dict(_notes(folder)["counters"])


def load_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """Load what `save_state` saved into modules and optimizers, and return the counters.

    Raises:
        ValueError: the state is damaged, or of other modules and optimizers.
    """
    with _damaged(folder):
        tensors, notes = load_file(folder / "state.safetensors"), _notes(folder)
        for name, module in modules.items():
            prefix = f"module/{name}/"
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for name, optimizer in optimizers.items():
            saved = notes["optimizers"][name]
            state: dict[int, dict[str, Any]] = {int(index): dict(entry) for index, entry in saved["plain"].items()}
            for key, value in tensors.items():
                if key.startswith(f"optimizer/{name}/"):
                    _, _, index, field = key.split("/", 3)
                    state.setdefault(int(index), {})[field] = value
            optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
        return dict(notes["counters"])


def _notes(folder: Path) -> Any:
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))


@contextmanager
def _damaged(folder: Path) -> Iterator[None]:
    """Whatever reading a state may raise becomes a ValueError that says what to do."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{folder} holds no state that can be read; remove it to begin again ({reason})") from error
