"""`20ms`: the seconds of a whole answer by the tokens that are kept, measured once for a device and stored.

A curve belongs to a VLM, its precision, a pruner and a device. It is measured on a composed picture, where a question
answered alone takes image processing, tower, pruner and language model. The slow end of the rounds counts, so that
most answers are faster than the curve says.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from grip_vlm import strict_json
from grip_vlm.errors import LocalError
from grip_vlm.files import write_text
from grip_vlm.vlms import Encoded, FrozenVLM

FORMAT = 1
ROUNDS, SLOW = 15, 95  # rounds of a measurement, and the percentile of them that counts
NEW_TOKENS = (1, 4)  # answers of this many tokens tell the first token from the others
QUESTION = "What is in the picture?"


@dataclass(frozen=True)
class CostCurve:
    """Seconds of one answer. All lists are over the lengths that were measured, ascending."""

    tokens: int
    """Visual tokens of the picture that was measured."""
    before: float
    """Seconds of image processing and tower."""
    lengths: list[int]
    """Tokens of the prompt, text and kept tokens together."""
    first: list[float]
    """Seconds of pruner and language model up to the first token."""
    step: list[float]
    """Seconds of each further token."""

    def seconds(self, n: int, length: int, new_tokens: int) -> float:
        """Of an answer of `new_tokens` tokens to a prompt of `length` tokens about an image of n visual tokens.

        Beyond the longest prompt that was measured, seconds grow in proportion to the length; so do those of the tower
        with n.
        """
        beyond = max(1.0, length / self.lengths[-1])
        first, step = (float(np.interp(length, self.lengths, part)) * beyond for part in (self.first, self.step))
        return self.before * max(1.0, n / self.tokens) + first + (new_tokens - 1) * step

    def most(self, seconds: float, n: int, text: int, new_tokens: int) -> int:
        """The most of n visual tokens whose answer fits, 0 if one does not.

        Args:
            text: tokens of the prompt besides the visual ones.
        """
        low, high = 0, n  # low fits or is 0
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.seconds(n, text + middle, new_tokens) <= seconds
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def device_of(vlm: FrozenVLM) -> str:
    """What the seconds depend on besides VLM and pruner: the device and how it computes."""
    if vlm.device.type == "cuda":
        name = torch.cuda.get_device_name(vlm.device)
    else:
        name = f"{platform.machine()} with {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{vlm.device.type}: {name}, torch {torch.__version__}"


def curve_of(vlm: FrozenVLM, pruner: Any, folder: Path | None = None) -> CostCurve:
    """The stored curve of this VLM, pruner and device. It is measured if there is none.

    Args:
        folder: of the curves; None means ~/.cache/grip-vlm/cost.

    Raises:
        LocalError: the stored curve cannot be read.
        ValueError: the VLM has no processor to prepare a picture with.
        OSError: the curve cannot be stored.
    """
    attention = vlm.model.config.get_text_config()._attn_implementation
    key = [FORMAT, vlm.fingerprint(), str(vlm.model.dtype), str(attention), pruner.name, device_of(vlm)]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = (folder or Path.home() / ".cache" / "grip-vlm" / "cost") / f"{name}.json"
    if path.is_file():
        try:
            values = strict_json.parse(path.read_bytes())
            strict_json.check_fields(CostCurve, values["curve"])
            return CostCurve(**values["curve"])
        except (ValueError, KeyError, TypeError) as error:
            raise LocalError(
                "what answers take was measured, and cannot be read",
                f"{path} is not a cost curve: {error}; remove it, and it is measured again",
            ) from error
    if vlm.processor is None:
        raise ValueError("a time needs a VLM with its processor, to measure what answers take; use grip_vlm.load_vlm")
    Console(stderr=True).print(f"measuring once what answers of {vlm.name} take on this device", soft_wrap=True)
    curve = measure(vlm, pruner)
    write_text(path, json.dumps({"key": key, "curve": asdict(curve)}, indent=2) + "\n")
    return curve


@torch.no_grad()
def measure(vlm: FrozenVLM, pruner: Any, clock: Callable[[], float] = time.perf_counter) -> CostCurve:
    """Answer one question about one picture from several counts of tokens, which take turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)

    def encode() -> Encoded:
        encoded = vlm.encode(vlm.inputs([picture], [QUESTION]))
        vlm.synchronize()
        return encoded

    encoded = encode()
    n = int(encoded.state.counts[0])
    text = int(encoded.prompt.attention_mask[0].sum()) - n
    counts = sorted({max(1, round(n * share)) for share in (0.0, 0.02, 0.1, 0.25, 0.5, 1.0)})
    jobs = [(count, new) for count in counts for new in NEW_TOKENS]
    before: list[float] = []
    taken: dict[tuple[int, int], list[float]] = {job: [] for job in jobs}
    for round_ in range(ROUNDS + 1):
        for count, new in (*jobs[round_ % len(jobs) :], *jobs[: round_ % len(jobs)]):
            start = clock()
            encoded = encode()
            middle = clock()
            k = encoded.state.counts.new_tensor([count]).to(vlm.device)
            vlm.respond(encoded, pruner.select(vlm, encoded, k), new, new)
            vlm.synchronize()
            if round_:  # the first is a warm-up
                before.append(middle - start)
                taken[count, new].append(clock() - middle)
    slow = {job: float(np.percentile(seconds, SLOW)) for job, seconds in taken.items()}
    few, many = NEW_TOKENS
    steps = [max(0.0, slow[count, many] - slow[count, few]) / (many - few) for count in counts]
    first = [slow[count, few] for count in counts]
    # More tokens never take less time; where a measurement says so, it is noise.
    rising = [np.maximum.accumulate(part).tolist() for part in (first, steps)]
    return CostCurve(n, float(np.percentile(before, SLOW)), [text + count for count in counts], *rising)
