"""What makes two runs the same run: the same settings, data, VLM and start. A state goes on with no other run's."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from grip_vlm.training.settings import RunConfig
from grip_vlm.training.state import has_state, read_counters

# `data` is a name; the digest of what it holds is in the identity instead.
HARMLESS = ("out", "log", "save_every", "features", "micro_batch", "dry_run", "data")


def state_folder(out: Path) -> Path:
    """Where the state of the run that writes `out` is."""
    return out.with_name(f"{out.name}.state")


def of_settings(config: RunConfig) -> dict[str, Any]:
    """The part of a run's identity that its settings give."""
    return {key: value for key, value in asdict(config).items() if key not in HARMLESS}


def refuse_other(out: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The counters of the state beside `out`, None if there is no state.

    Args:
        identity: of this run, or the part of it that is known so far.

    Raises:
        ValueError: the state is of another run (the message names what differs), or is damaged.
    """
    folder = state_folder(out)
    if not has_state(folder):
        return None
    counters = read_counters(folder)
    old = counters.get("identity", {})
    differs = sorted(key for key, value in identity.items() if old.get(key) != value)
    if differs:
        raise ValueError(
            f"{folder} holds a run with other settings ({', '.join(differs)}); "
            "give the same settings, another --out, or remove that folder"
        )
    return counters


def is_finished(out: Path, counters: Mapping[str, Any] | None, steps: int) -> bool:
    """Whether a run with these counters made all its steps and wrote its scorer."""
    return counters is not None and counters["step"] >= steps and (out / "scorer.json").is_file()


def digest(module: nn.Module) -> str:
    """Sixteen hexadecimal digits of a hash of all weights."""
    sha = hashlib.sha256()
    for weight in module.state_dict().values():
        sha.update(weight.detach().float().cpu().numpy().tobytes())
    return sha.hexdigest()[:16]
