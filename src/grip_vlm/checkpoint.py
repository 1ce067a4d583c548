"""A scorer on disk: weights as safetensors, configuration and provenance as JSON. Nothing is pickled."""

import hashlib
import json
import math
import subprocess
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from grip_vlm import strict_json
from grip_vlm.files import new_folder
from grip_vlm.registry import PACKAGE
from grip_vlm.scorer import Scorer, ScorerConfig

FORMAT = 3


@dataclass(frozen=True)
class Provenance:
    """How a scorer was trained. Saved with its weights."""

    vlm: str
    fingerprint: str
    """`FrozenVLM.fingerprint()` of the VLM it was trained for."""
    data: str
    method: str
    steps: int
    seconds: float
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)


class VLMIdentity(Protocol):
    """The attributes of a VLM that decide whether a scorer fits it."""

    @property
    def name(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def fingerprint(self) -> str: ...
    def fits(self, fingerprint: str) -> bool: ...


@cache
def commit() -> str:
    """The git commit of the source tree that this package runs from, "" if there is none."""
    here = Path(__file__).resolve().parent
    try:
        out = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return out.stdout.strip() if out.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Installed versions of the packages that influence a scorer's weights."""
    return {name: version(name) for name in ("grip-vlm", "torch", "transformers")}


def save(folder: Path, scorer: Scorer, provenance: Provenance) -> None:
    """Write `scorer.safetensors` and `scorer.json` into `folder`, which is replaced as a whole."""
    notes = {"format": FORMAT, "scorer": asdict(scorer.config), "provenance": asdict(provenance)}
    weights = {name: value.detach().cpu().contiguous() for name, value in scorer.state_dict().items()}
    with new_folder(folder) as beside:
        save_file(weights, beside / "scorer.safetensors")
        (beside / "scorer.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


def refuse_foreign(folder: Path) -> None:
    """Raise a ValueError if saving a scorer to `folder` would replace something that is not a scorer."""
    if folder.exists() and not (folder / "scorer.json").is_file() and (folder.is_file() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something else than a scorer; give another --out")


def digest(folder: Path) -> str:
    """Eight hexadecimal digits of the SHA-256 of the weights in `folder`.

    Raises:
        ValueError: they cannot be read.
    """
    try:
        with (folder / "scorer.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]
    except OSError as error:
        raise ValueError(f"the weights in {folder} do not load: {error}") from error


def locate(scorer: str | Path) -> Path:
    """The folder of a scorer.

    Args:
        scorer: that folder, its parent folder, or the name of a VLM that is shipped with a scorer.

    Raises:
        ValueError: there is no scorer.
    """
    shipped = PACKAGE / "assets" / str(scorer) / "scorer"
    for folder in (Path(scorer), Path(scorer) / "scorer", shipped):
        if (folder / "scorer.json").is_file():
            return folder
    raise ValueError(f"no scorer at {str(scorer)!r}: a scorer is a folder with scorer.json and scorer.safetensors")


def read_notes(folder: Path) -> dict[str, Any]:
    """The content of scorer.json: `format`, `scorer` (its configuration) and `provenance`.

    Raises:
        ValueError: the file is broken or of another format; the message names the field and what would be right.
    """
    path = folder / "scorer.json"
    try:
        notes = strict_json.parse(b"".join(strict_json.lines(path, strict_json.MAX_LINE)))
        if not isinstance(notes, dict) or "format" not in notes:
            raise ValueError("it is not an object with a format")
        if notes["format"] == FORMAT:
            _check_notes(notes)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a scorer's description: {error}") from error
    if notes["format"] != FORMAT:
        raise ValueError(f"{folder} has scorer format {notes['format']}; this version reads format {FORMAT}")
    return notes


def _check_notes(notes: dict[str, Any]) -> None:
    provenance, known = notes.get("provenance"), {one.name for one in fields(Provenance)}
    if isinstance(provenance, dict):  # a later version may have more fields
        provenance = {name: value for name, value in provenance.items() if name in known}
    for name, kind, values in (("scorer", ScorerConfig, notes.get("scorer")), ("provenance", Provenance, provenance)):
        try:
            strict_json.check_fields(kind, values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def load(folder: Path, vlm: VLMIdentity) -> Scorer:
    """The scorer in `folder`, in eval mode on the CPU.

    Raises:
        ValueError: the files are broken or do not belong together, or the scorer was trained for another VLM.
    """
    notes = read_notes(folder)
    trained = notes["provenance"]
    try:
        config = ScorerConfig(**notes["scorer"])
    except ValueError as error:
        raise ValueError(f"{folder / 'scorer.json'} is not a scorer's description: {error}") from error
    if config.dim != vlm.dim:
        raise ValueError(
            f"the scorer in {folder} reads tokens of width {config.dim}, but {vlm.name!r} has width {vlm.dim}"
        )
    if not vlm.fits(trained["fingerprint"]):
        raise ValueError(
            f"the scorer in {folder} was trained for {trained['vlm']!r} ({trained['fingerprint']}), "
            f"but {vlm.name!r} is {vlm.fingerprint()}; train one with `grip-vlm warmup` and `grip-vlm train`"
        )
    try:
        _check_shapes(folder / "scorer.safetensors", config)
        scorer = Scorer(config)
        scorer.load_state_dict(load_file(folder / "scorer.safetensors"))
        for name, weight in scorer.named_parameters():
            if not weight.isfinite().all():
                raise ValueError(f"{name} has values that are not finite")
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"the weights in {folder} do not load: {error}") from error
    return scorer.eval().requires_grad_(False)


def _check_shapes(path: Path, config: ScorerConfig) -> None:
    """Raise a ValueError if the tensors in a file are not those of a scorer with this configuration.

    Only the file's header is read, and nothing of the configuration's sizes is allocated.
    """
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        found = {name: tuple(part.get_shape()) for name, part in slices.items()}
        kinds = {name: part.get_dtype() for name, part in slices.items()}
    # A scorer without tensors still has its list of blocks, so impossible numbers are refused before one is built.
    largest = max((math.prod(shape) for shape in found.values()), default=0)
    if config.blocks > len(found) or max(config.dim, config.width, config.frequencies) > largest:
        raise ValueError(f"{path.name} is too small for the sizes in scorer.json, {config}")
    with torch.device("meta"):
        wanted = {name: tuple(weight.shape) for name, weight in Scorer(config).state_dict().items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            there, right = found.get(name, "missing"), wanted.get(name, "not there")
            raise ValueError(f"by scorer.json, {name} must be {right}, but it is {there} in {path.name}")
        if not kinds[name].startswith(("F", "BF")):
            raise ValueError(f"{name} must hold floating-point numbers, not {kinds[name]}")


def parameters(scorer: torch.nn.Module) -> int:
    """The number of parameters."""
    return sum(weight.numel() for weight in scorer.parameters())
