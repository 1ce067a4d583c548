"""A scorer on disk: safetensors weights, JSON configuration and provenance. No pickle anywhere."""

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from grip_vlm.files import new_folder
from grip_vlm.registry import PACKAGE
from grip_vlm.scorer import Scorer, ScorerConfig

FORMAT = 3


@dataclass(frozen=True)
class Provenance:
    """Where a scorer comes from."""

    vlm: str
    fingerprint: str
    data: str
    method: str
    steps: int
    seconds: float
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)


class TrainedFor(Protocol):
    """What tells whether a scorer fits a VLM."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def fingerprint(self) -> str: ...


@cache
def commit() -> str:
    """The git commit of the source tree this package runs from, "" when it is not in one."""
    here = Path(__file__).resolve().parent
    try:
        out = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return out.stdout.strip() if out.returncode == 0 else ""


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("grip-vlm", "torch", "transformers")}


def save(folder: Path, scorer: Scorer, provenance: Provenance) -> None:
    """Write `scorer.safetensors` and `scorer.json` into `folder`, which is replaced as a whole."""
    notes = {"format": FORMAT, "scorer": asdict(scorer.config), "provenance": asdict(provenance)}
    weights = {name: value.detach().cpu().contiguous() for name, value in scorer.state_dict().items()}
    with new_folder(folder) as beside:
        save_file(weights, beside / "scorer.safetensors")
        (beside / "scorer.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


def refuse_foreign(folder: Path) -> None:
    """Raises ValueError if saving a scorer to `folder` would replace something that is not a scorer."""
    if folder.exists() and not (folder / "scorer.json").is_file() and (folder.is_file() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something else than a scorer; give another --out")


def digest(folder: Path) -> str:
    """Eight hexadecimal digits that tell the weights in `folder` from others."""
    return hashlib.sha256((folder / "scorer.safetensors").read_bytes()).hexdigest()[:8]


def locate(scorer: str | Path) -> Path:
    """The folder of a scorer, given the folder or the name of a VLM that is shipped with one.

    Raises:
        ValueError: there is none.
    """
    shipped = PACKAGE / "assets" / str(scorer) / "scorer"
    for folder in (Path(scorer), Path(scorer) / "scorer", shipped):
        if (folder / "scorer.json").is_file():
            return folder
    raise ValueError(f"no scorer at {str(scorer)!r}: a scorer is a folder with scorer.json and scorer.safetensors")


def read_notes(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint.

    Raises:
        ValueError: it is broken or of another format.
    """
    try:
        notes = json.loads((folder / "scorer.json").read_text(encoding="utf-8"))
        found = notes["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'scorer.json'} is not a scorer's description: {error}") from error
    if found != FORMAT:
        raise ValueError(f"{folder} has scorer format {found}; this version reads format {FORMAT}")
    return dict(notes)


def load(folder: Path, vlm: TrainedFor) -> Scorer:
    """The scorer in `folder`, in eval mode on the CPU.

    Raises:
        ValueError: the files are broken, or the scorer was trained for another VLM; the message says what differs.
    """
    notes = read_notes(folder)
    try:
        config = ScorerConfig(**notes["scorer"])
        trained = {key: notes["provenance"][key] for key in ("vlm", "fingerprint")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'scorer.json'} is not a scorer's description: {error}") from error
    if config.dim != vlm.dim:
        widths = f"reads tokens of width {config.dim}, but {vlm.name!r} has width {vlm.dim}"
        raise ValueError(f"the scorer in {folder} {widths}")
    if trained["fingerprint"] != vlm.fingerprint():
        raise ValueError(
            f"the scorer in {folder} was trained for {trained['vlm']!r} ({trained['fingerprint']}), "
            f"but {vlm.name!r} is {vlm.fingerprint()}; train one with `grip-vlm warmup` and `grip-vlm train`"
        )
    scorer = Scorer(config)
    try:
        scorer.load_state_dict(load_file(folder / "scorer.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"the weights in {folder} do not load: {error}") from error
    return scorer.eval().requires_grad_(False)


def parameters(scorer: torch.nn.Module) -> int:
    """How many numbers the scorer has."""
    return sum(weight.numel() for weight in scorer.parameters())
