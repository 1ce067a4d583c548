"""A timed answer to a batch, as a row on disk. Reading the rows needs neither a model nor torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from grip_vlm import strict_json

PHASES = ("images", "tower", "scorer", "choice", "inputs", "prefill", "decode")
"""What an answer consists of, in its order; the fields of `Timing` explain each."""
FREE = "free"  # the pruner of rows in which the sequence was pruned before the clock started


@dataclass(frozen=True)
class Timing:
    """One answer to a batch of questions, timed once. The fields are a public contract. Seconds are the batch's."""

    vlm: str
    pruner: str
    """`full` is the upper limit. `free` is the lower one of its budget: its sequence was pruned before the clock
    started, so nothing is scored, chosen or removed."""
    checkpoint: str
    """Folder and weight hash of a trained pruner; empty for an untrained one."""
    budget: str
    batch: int
    """Questions in the batch."""
    round: int
    """All jobs of a call take turns; each has one row per round."""
    new_tokens: int
    """Tokens of every answer, the first of which comes from the prefill."""
    tokens: float
    """Visual tokens of a question, mean over the batch."""
    kept: float
    """Visual tokens per layer of the language model, mean over layers and batch."""
    images: float
    """Seconds of the processor: pixels and text to tensors on the device."""
    tower: float
    """Seconds of vision tower and projector, and of what describes the batch to the pruner."""
    scorer: float
    """Seconds of a trained method's network; 0 for other methods."""
    choice: float
    """Seconds in which the tokens are chosen, the scorer left out."""
    inputs: float
    """Seconds from the choice to the language model: tokens are removed, and `generate` prepares."""
    prefill: float
    """Seconds of the language model over the whole prompt. Methods inside the language model choose here."""
    decode: float
    """Seconds from the prefill to the texts: the language model for each token but the first."""
    kv_bytes: int
    """Keys and values (and other states of layers) of the batch after the last token."""
    resting_bytes: int | None
    """Memory before a run of this job, and `peak_bytes` the most during it; see `peak.py`. None where it is unknown."""
    peak_bytes: int | None
    questions: str
    """Tells the batch's images and questions from others."""
    device: str
    machine: str
    """Name of the processor or the GPU."""
    threads: int
    """Threads of torch on the CPU."""
    precision: str
    attention: str
    """Attention implementation of the language model."""
    commit: str
    torch: str
    transformers: str

    @property
    def seconds(self) -> float:
        """The whole answer."""
        return float(sum(getattr(self, phase) for phase in PHASES))

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """Identifies a run among those of one file."""
        return self.pruner, self.checkpoint, self.budget, self.batch, self.round

    @property
    def setting(self) -> dict[str, Any]:
        """What all rows of a file share, so that they can be compared. Batches of one size share their questions."""
        names = ("vlm", "new_tokens", "device", "machine", "threads", "precision", "attention", "torch", "transformers")
        values = {name: getattr(self, name) for name in names}
        return values | {f"set of questions in batches of {self.batch}": self.questions}


def read(path: Path) -> tuple[list[Timing], int]:
    """The rows in a file, and how many bytes they take. A last line that was cut off is skipped; see `rows.read`."""
    return strict_json.records(path, timing_of, b'{"vlm": ', "a row of `bench`")


def read_timings(paths: Sequence[Path]) -> list[Timing]:
    """The rows of all files.

    Raises:
        ValueError: a file is missing or holds something else, there are no rows, two rows are about one run, or the
            rows were not measured in one setting.
    """
    rows: dict[tuple[str, str, str, int, int], Timing] = {}
    for path in paths:
        if not path.is_file():
            raise ValueError(f"no rows at {str(path)!r}; `grip-vlm bench --out {path}` writes them")
        for row in read(path)[0]:
            if row.key in rows:
                raise ValueError(f"{path} times {' '.join(map(str, row.key))} again; give one of the two")
            rows[row.key] = row
    if not rows:
        raise ValueError(f"there are no rows in {', '.join(map(str, paths))}")
    check_setting(rows.values(), ", ".join(map(str, paths)))
    return list(rows.values())


def check_setting(rows: Iterable[Timing], where: str) -> None:
    """Raise a ValueError if rows were not measured in one setting."""
    known: dict[str, Any] = {}
    for row in rows:
        for name, value in row.setting.items():
            if known.setdefault(name, value) != value:
                raise ValueError(
                    f"{where}: times of another {name} ({known[name]} and {value}) cannot be compared; give another "
                    "--out"
                )


def timing_of(values: Any) -> Timing:
    """The row that a JSON object describes.

    Raises:
        ValueError: a field is missing, unknown, of another type, or impossible.
    """
    strict_json.check_fields(Timing, values)
    row = Timing(**values)
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{field.name} must be at least 0, not {value}")
    for name in ("batch", "new_tokens", "threads"):
        if getattr(row, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(row, name)}")
    if row.seconds == 0:
        raise ValueError("an answer cannot take no time")
    return row


def repair(path: Path) -> list[Timing]:
    """The rows of `read`, of a file that is about to grow; see `strict_json.repaired`."""
    return strict_json.repaired(path, read)


def append(path: Path, row: Timing) -> None:
    """Add a row and write it at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")
