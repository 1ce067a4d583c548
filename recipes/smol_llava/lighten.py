"""A training state small enough to commit: weights in bfloat16, without the optimizers' moments.

    python recipes/smol_llava/lighten.py runs/smol_llava/answers.state recipes/smol_llava/states/answers.state

A run that goes on from it raises its learning rate anew, because the moments have to be measured again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from safetensors.torch import load_file, save_file

from grip_vlm.files import new_folder
from grip_vlm.training.state import has_state


@dataclass(frozen=True)
class Config:
    state: tyro.conf.Positional[Path]
    """folder of the full state"""
    light: tyro.conf.Positional[Path]
    """folder to write; replaced as a whole"""


def lighten(state: Path, light: Path) -> None:
    """Write the light state.

    Raises:
        ValueError: there is no state.
    """
    if not has_state(state):
        raise ValueError(f"{state} holds no state; name a folder such as runs/smol_llava/answers.state")
    notes = json.loads((state / "state.json").read_text(encoding="utf-8"))
    for optimizer in notes["optimizers"].values():
        optimizer["plain"] = {}
    tensors = load_file(state / "state.safetensors")
    weights = {name: value.to(torch.bfloat16) for name, value in tensors.items() if name.startswith("module/")}
    with new_folder(light) as beside:
        save_file(weights, beside / "state.safetensors")
        (beside / "state.json").write_text(json.dumps(notes), encoding="utf-8")


if __name__ == "__main__":
    config = tyro.cli(Config)
    lighten(config.state, config.light)
