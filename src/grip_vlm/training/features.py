"""Encoded examples on disk, so that an image is encoded once, and main memory does not hold what the disk does.

    DIR/KEY/NAME.safetensors        32 examples each, mapped into memory when they are used

KEY stands for all that features depend on besides the example: the VLM's weights and precision, its processor, whether
labels are read, and the versions of the code. A file is found by the digests of its examples. It is written whole, so a
kill costs one file at most. An example that changed has another digest, and is encoded anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_origin

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from grip_vlm.benchmarks.digests import digest_of_all
from grip_vlm.files import new_file
from grip_vlm.sequence import Sample
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.prompts import processor_notes

FORMAT = 1
PROBE = 64  # numbers of each weight that the key looks at


@dataclass(frozen=True)
class Entry:
    """One example, ready to be collated."""

    sample: Sample  # prompt, answer and end of sequence; features in half precision
    answer_length: int
    target_score: float
    """the benchmark's own score of the target answer: the value of reproducing it exactly"""
    benchmark: str

    @property
    def tokens(self) -> int:
        """Visual tokens N."""
        return len(self.sample.visual)


class Features:
    """The encoded examples in one folder."""

    def __init__(self, folder: Path, vlm: FrozenVLM, label_free: bool) -> None:
        self.folder = folder / key_of(vlm, label_free)
        self.where: dict[str, tuple[Path, int]] = {}  # digest -> file, and place in it
        self.opened: dict[Path, list[Entry]] = {}
        self.refresh()

    def __contains__(self, digest: str) -> bool:
        return digest in self.where

    def __getitem__(self, digest: str) -> Entry:
        """The example with this digest. Its tensors are mapped, not read."""
        path, place = self.where[digest]
        if path not in self.opened:
            self.opened[path] = read(path)
        return self.opened[path][place]

    def write(self, digests: Sequence[str], entries: Sequence[Entry]) -> None:
        """Add examples as one file.

        Raises:
            OSError: the disk is full or cannot be written; the message names the file.
        """
        path = self.folder / f"{digest_of_all(digests)}.safetensors"
        tensors: dict[str, Tensor] = {}
        notes = []
        for place, (digest, entry) in enumerate(zip(digests, entries, strict=True)):
            tensors |= {f"{place}/{name}": value for name, value in flat(entry.sample).items()}
            lengths = {"answer_length": entry.answer_length, "target_score": entry.target_score}
            notes.append({"digest": digest, "benchmark": entry.benchmark, **lengths})
        with new_file(path) as beside:
            save_file(tensors, beside, {"entries": json.dumps(notes)})
        self._index(path)

    def sweep(self) -> None:
        """Remove what killed processes left. Only while no other process writes here."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink()

    def refresh(self) -> None:
        """Find what is in the folder; other processes of the same run write there too."""
        for path in sorted(self.folder.glob("*.safetensors")):
            self._index(path)

    def _index(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                entries = json.loads(file.metadata()["entries"])
        except (OSError, SafetensorError, LookupError, TypeError, ValueError):
            return  # damaged: its examples are encoded anew
        for place, entry in enumerate(entries):
            self.where.setdefault(entry["digest"], (path, place))


def read(path: Path) -> list[Entry]:
    """The examples of one file, their tensors mapped into memory."""
    with safe_open(path, "pt") as file:
        notes = json.loads(file.metadata()["entries"])
    tensors: list[dict[str, Tensor]] = [{} for _ in notes]
    for name, value in load_file(path).items():
        place, _, rest = name.partition("/")
        tensors[int(place)][rest] = value
    rests = [(note["answer_length"], note["target_score"], note["benchmark"]) for note in notes]
    return [Entry(sample_of(own), *rest) for own, rest in zip(tensors, rests, strict=True)]


def flat(sample: Sample) -> dict[str, Tensor]:
    """The tensors of a sample by name: `visual`, `deepstack/0`, `extras/token_type_ids`."""
    tensors: dict[str, Tensor] = {}
    for field in fields(sample):
        value = getattr(sample, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value
        elif isinstance(value, Mapping):
            tensors |= {f"{field.name}/{key}": part for key, part in value.items()}
        else:
            tensors |= {f"{field.name}/{place}": part for place, part in enumerate(value)}
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def sample_of(tensors: Mapping[str, Tensor]) -> Sample:
    """The sample that `flat` took apart."""
    values: dict[str, Any] = {}
    for field in fields(Sample):
        parts = {name.partition("/")[2]: part for name, part in tensors.items() if name.startswith(f"{field.name}/")}
        if field.name in tensors:
            values[field.name] = tensors[field.name]
        elif get_origin(field.type) is tuple:
            values[field.name] = tuple(parts[str(place)] for place in range(len(parts)))
        else:
            values[field.name] = parts
    return Sample(**values)


def key_of(vlm: FrozenVLM, label_free: bool) -> str:
    """Sixteen hexadecimal digits of all that features depend on besides the example."""
    sha = hashlib.blake2b(digest_size=8)
    for part in (FORMAT, version("grip-vlm"), version("transformers"), vlm.fingerprint(), label_free):
        sha.update(repr(part).encode())
    for name, weight in vlm.model.state_dict().items():
        sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        if not weight.is_meta:
            numbers = weight.detach().flatten()
            sha.update(numbers[:: max(1, len(numbers) // PROBE)].float().cpu().numpy().tobytes())
    sha.update(json.dumps(processor_notes(vlm.processor), sort_keys=True, default=str).encode())
    return sha.hexdigest()


def bytes_of(entry: Entry) -> int:
    """How much an example takes, in memory and on disk alike."""
    return sum(value.numel() * value.element_size() for value in flat(entry.sample).values())


def default_folder(out: Path) -> Path:
    """The folder of a run's encoded images, unless --features names another."""
    return out.with_name(f"{out.name}.features")
