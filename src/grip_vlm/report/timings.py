"""Timed answers -> medians with their spread, and a table: what each phase takes, and what pruning gains."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grip_vlm.evaluation.timing import FREE, PHASES, Timing
from grip_vlm.report import escape

LIMITS = ("full", FREE)

METHOD = """Medians over rounds, in milliseconds per question: the batch's time divided by its size. In brackets are the
10th and 90th percentile. `full` keeps all tokens. `free` is the lower limit of its budget: a sequence that was pruned
before the clock started, so nothing is scored, chosen or removed. All jobs take turns on the same questions, and every
answer has the same number of tokens.

- images: image processing. tower: vision tower and projector. scorer: a trained method's network. choice: the
  selection of tokens. inputs: removal of the other tokens, and the preparation inside `generate`. prefill: the language
  model over the prompt; methods inside the language model select tokens in this phase. token: one further step of the
  language model, for the whole batch.
- KV: keys and values of a question after its last token.
- memory: peak memory of a run. On a CPU it is that of the whole process with Python and weights, on CUDA what torch has
  allocated. In brackets is the increase since before the run.
"""


@dataclass(frozen=True)
class Timed:
    """One pruner at one budget and batch size, over all rounds. Milliseconds."""

    pruner: str
    budget: str
    batch: int
    rounds: int
    kept: float
    """Share of the visual tokens per layer."""
    total: float
    low: float
    high: float
    """Median of the whole answer per question, and its 10th and 90th percentile over rounds."""
    phases: dict[str, float]
    """Phase -> median per question."""
    per_token: float
    """Median of one decoding step of the batch; NaN if answers have one token."""
    kv_bytes: float
    """Per question."""
    peak_bytes: int | None
    added_bytes: int | None
    """The most memory during a run, and how much more that was than before it."""


def timed(rows: Sequence[Timing]) -> list[Timed]:
    """One entry per batch size, pruner, checkpoint and budget, in the order in which the rows name them first."""
    groups: dict[tuple[int, str, str, str], list[Timing]] = defaultdict(list)
    for row in rows:
        groups[row.batch, row.pruner, row.checkpoint, row.budget].append(row)
    return [_of(group) for group in sorted(groups.values(), key=lambda group: group[0].batch)]


def _of(rows: Sequence[Timing]) -> Timed:
    first = rows[0]
    scale = 1000 / first.batch
    low, middle, high = np.percentile([scale * row.seconds for row in rows], [10, 50, 90])
    steps = first.new_tokens - 1
    memory = [(row.peak_bytes, row.peak_bytes - row.resting_bytes) for row in rows if _knows_memory(row)]  # type: ignore[operator]
    return Timed(
        first.pruner,
        first.budget,
        first.batch,
        len(rows),
        kept=first.kept / first.tokens,
        total=float(middle),
        low=float(low),
        high=float(high),
        phases={phase: scale * float(np.median([getattr(row, phase) for row in rows])) for phase in PHASES},
        per_token=1000 * float(np.median([row.decode for row in rows])) / steps if steps else float("nan"),
        kv_bytes=max(row.kv_bytes for row in rows) / first.batch,
        peak_bytes=max((peak for peak, _ in memory), default=None),  # type: ignore[type-var]
        added_bytes=max((added for _, added in memory), default=None),
    )


def _knows_memory(row: Timing) -> bool:
    return row.peak_bytes is not None and row.resting_bytes is not None


def markdown(entries: Sequence[Timed]) -> str:
    """A Markdown table, one line per entry; `full ÷ this` is how many times as fast as `full` it is."""
    full = {entry.batch: entry.total for entry in entries if entry.pruner == "full"}
    phases = [phase for phase in PHASES if phase != "decode"]
    head = ["batch", "pruner", "budget", "kept", "ms", "full ÷ this", *phases, "token", "KV (kB)", "memory (MB)"]
    lines = ["| " + " | ".join(head) + " |", "|--:|---|" + "--:|" * (len(head) - 2)]
    for entry in entries:
        memory = "-"
        if entry.peak_bytes is not None and entry.added_bytes is not None:
            memory = f"{entry.peak_bytes / 1e6:.0f} [+{entry.added_bytes / 1e6:.1f}]"
        cells = [str(entry.batch), escape.markdown(entry.pruner), entry.budget, f"{100 * entry.kept:.1f} %"]
        cells += [f"{entry.total:.2f} [{entry.low:.2f}, {entry.high:.2f}]"]
        cells += [f"{full[entry.batch] / entry.total:.2f}" if entry.batch in full else "-"]
        cells += [f"{entry.phases[phase]:.2f}" if entry.phases[phase] else "-" for phase in phases]
        cells += ["-" if np.isnan(entry.per_token) else f"{entry.per_token:.2f}", f"{entry.kv_bytes / 1e3:.1f}", memory]
        lines.append("| " + " | ".join(cells) + " |")
    return "".join(f"{line}\n" for line in lines)
