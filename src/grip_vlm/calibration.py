"""A scorer's calibration on disk, beside it: a head that knows how many tokens are enough, and what it may promise.

`sufficiency.safetensors` has the head and the curves of the calibration's questions, `calibration.json` the promises
and what they were made from. Both belong to one set of scorer weights and to one VLM. Nothing is pickled.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from grip_vlm import checkpoint, strict_json
from grip_vlm.errors import LocalError
from grip_vlm.files import write_bytes, write_text
from grip_vlm.goals import Auto
from grip_vlm.sufficiency import Curve, Head

FORMAT = 1
HEAD, NOTES = "sufficiency.safetensors", "calibration.json"
BROKEN = "the calibration of the scorer cannot be read"
Method = Literal["learn_then_test", "betting", "conformal_risk_control"]


@dataclass(frozen=True)
class Promise:
    """A price per token at which the accuracy falls by at most `max_drop` (`evaluation/calibrate.py`)."""

    max_drop: float
    confidence: float | None
    """Over the draw of the calibration's questions; None for `conformal_risk_control`, which bounds a mean over it."""
    price: float
    """The threshold; see `sufficiency.least`."""
    method: Method
    """`betting` tests the drop in accuracy itself; the others test right answers that are lost."""
    loss: float
    """Mean of what was tested, over the calibration's questions at this price."""
    kept: float
    """Share of the visual tokens that they keep at this price."""

    def __str__(self) -> str:
        return f"auto:{self.max_drop:g}" + ("" if self.confidence is None else f":{self.confidence:g}")


@dataclass(frozen=True)
class Calibration:
    """The promises of a scorer, and what they were made from."""

    scorer: str
    """Digest of the scorer's weights."""
    head: str
    """Digest of the head's file."""
    vlm: str
    fingerprint: str
    """`FrozenVLM.fingerprint()` of the VLM."""
    data: str
    split: str
    data_digest: str
    """Of the calibration's questions, images and answers."""
    items: int
    """Questions of the calibration."""
    images: int
    """Images of these questions; the statistics count each image once."""
    trained_on: int
    """Questions of the train split that the head was trained on."""
    label_free: bool
    """Whether a loss is any change of the answer; else it is a lower score, of questions with labels."""
    answer_tokens: int
    """Tokens that 99 % of the full answers do not exceed, the end included."""
    promises: list[dict[str, Any]]
    """`Promise` each, the default first."""

    def promised(self) -> list[Promise]:
        """The promises. The first is that of the budget `auto`."""
        return [Promise(**promise) for promise in self.promises]

    def with_promises(self, new: Sequence[Promise]) -> "Calibration":
        """The calibration with more promises. A new one replaces an old one of the same drop and confidence."""
        by_goal = {(p.max_drop, p.confidence, p.method): p for p in (*self.promised(), *new)}
        return replace(self, promises=[asdict(promise) for promise in by_goal.values()])


@dataclass(frozen=True)
class Calibrated:
    """A calibration that is loaded."""

    notes: Calibration
    head: Head
    reference: Curve
    """of the calibration's questions"""

    def price(self, goal: Auto, command: str) -> float:
        """The price per token that keeps what the goal asks for: the highest of those whose promise is as good.

        Promises of the accuracy itself (`betting`) go before those of right answers lost.

        Args:
            command: what makes a calibration, for the message.

        Raises:
            LocalError: no promise is as good as the goal; the message names those there are.
        """
        promises = self.notes.promised()
        certain = [promise for promise in promises if promise.confidence is not None]
        if goal.max_drop is None and certain:
            return certain[0].price
        drop = 0.0 if goal.max_drop is None else goal.max_drop
        enough = [p for p in certain if p.max_drop <= drop and (p.confidence or 0) >= goal.confidence]
        if enough:
            # The kind of test is not chosen by its price: the better of two would be right less often than each.
            signed = [p for p in enough if p.method == "betting"]
            return max(p.price for p in signed or enough)
        there = ", ".join(dict.fromkeys(map(str, certain))) or "none"
        plain = f"the scorer was not calibrated for the budget {goal}; its promises are: {there}"
        raise LocalError(plain, command)


def command_for(folder: Path, vlm: str, goal: Auto | None = None) -> str:
    """The sentence that says how a calibration is made."""
    wanted = "" if goal is None or goal.max_drop is None else f" --max-drop {goal.max_drop:g}"
    wanted += "" if goal is None or goal.confidence == 0.95 else f" --confidence {goal.confidence:g}"
    return f"Make one with `grip-vlm calibrate --scorer {folder} --vlm {vlm} --data DATA{wanted}`"


def digest(folder: Path) -> str:
    """Eight hexadecimal digits of a scorer's calibration, "" if it has none."""
    try:
        return hashlib.sha256((folder / NOTES).read_bytes()).hexdigest()[:8]
    except OSError:
        return ""


def write(folder: Path, head: Head, reference: Curve, notes: Calibration) -> Calibration:
    """Write head and promises beside the scorer in `folder`.

    Promises that are there already stay if all else is the same.

    Returns:
        What was written.

    Raises:
        OSError: the folder cannot be written.
    """
    tensors = {f"head.{name}": value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    tensors |= {"reference.level": reference.level.float().cpu(), "reference.slope": reference.slope.float().cpu()}
    content = save(tensors)
    notes = replace(notes, head=hashlib.sha256(content).hexdigest()[:16])
    with suppress(ValueError):  # a broken one is replaced
        old = read_notes(folder)
        if old is not None and replace(old, promises=[]) == replace(notes, promises=[]):
            notes = old.with_promises(notes.promised())
    write_bytes(folder / HEAD, content)
    write_text(folder / NOTES, json.dumps({"format": FORMAT, **asdict(notes)}, indent=2) + "\n")
    return notes


def read_notes(folder: Path) -> Calibration | None:
    """The promises beside a scorer, None if there are none.

    Raises:
        LocalError: the file is broken or of another format.
    """
    path = folder / NOTES
    if not path.exists():
        return None
    try:
        values = strict_json.parse(b"".join(strict_json.lines(path, strict_json.MAX_LINE)))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        strict_json.check_fields(Calibration, values)
        for promise in values["promises"]:
            strict_json.check_fields(Promise, promise)
            if promise["price"] < 0:
                raise ValueError(f"price must be at least 0, not {promise['price']}")
    except (OSError, ValueError) as error:
        raise LocalError(BROKEN, f"{path} is not a calibration: {error}") from error
    return Calibration(**values)


def load(folder: Path, vlm: checkpoint.VLMIdentity, goal: Auto | None = None) -> Calibrated:
    """The calibration beside a scorer.

    Args:
        goal: what is asked for, for the message.

    Raises:
        LocalError: there is none, it is broken, or it belongs to another scorer or VLM.
    """
    notes, command = read_notes(folder), command_for(folder, vlm.name, goal)
    if notes is None:
        raise LocalError("the scorer was not calibrated, so it does not know how much is enough", command)
    if notes.scorer != checkpoint.digest(folder):
        raise LocalError("the calibration belongs to other weights of the scorer", command)
    if not vlm.fits(notes.fingerprint):
        raise LocalError(
            "the calibration is for another VLM", f"It is for {notes.vlm!r}, not for {vlm.name!r}. {command}"
        )
    path = folder / HEAD
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest()[:16] != notes.head:
            raise ValueError(f"it is not the file that {NOTES} names")
        tensors = load_file(path)
        hidden, twice_width = tensors["head.inner.weight"].shape
        head = Head(twice_width // 2, hidden)
        head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
        reference = Curve(tensors["reference.level"].double(), tensors["reference.slope"].double())
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise LocalError(BROKEN, f"{path} does not load: {error}. {command}") from error
    return Calibrated(notes, head.eval().requires_grad_(False), reference)
