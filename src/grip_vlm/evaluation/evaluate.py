"""VLM x pruner x benchmark x budgets -> rows on disk: one JSON object per item, resumable, seconds end to end."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from grip_vlm import checkpoint
from grip_vlm.benchmarks import Example, score
from grip_vlm.benchmarks.items import Items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.rows import FIXED, Row, repair
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import Encoded, FrozenVLM


def evaluate(
    vlm: FrozenVLM,
    pruners: dict[str, Pruner],
    sources: Sequence[Items],
    budgets: Sequence[Budget],
    out: Path,
    *,
    limit: int = 100,
    shard: tuple[int, int] = (1, 1),
    seed: int = 0,
    batch: int = 32,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Answer `limit` items of every benchmark with every pruner at every budget, and append the rows that are missing.

    Args:
        sources: benchmarks opened by `open_items`.
        out: JSON lines; rows already in it are not computed again.
        shard: (i, n) answers every n-th of the `limit` items from the i-th, 1 <= i <= n, for runs on n machines.

    Returns:
        All rows of this call, old and new.

    Raises:
        ValueError: an impossible shard; `out` holds something else, is compressed, or has rows of items that have
        changed.
    """
    first, step = shard
    if not 1 <= first <= step:
        raise ValueError(f"a shard is i/n with 1 <= i <= n, got {first}/{step}")
    known = {row.key: row for row in repair(out)}
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    bars = Console(stderr=True)
    with out.open("a", encoding="utf-8") as file:
        for items in sources:
            chosen = range(first - 1, min(limit, items.count), step)
            for start in track(range(0, len(chosen), batch), description=items.name, transient=True, console=bars):
                part = [items.example(i) for i in chosen[start : start + batch]]
                seen: _Seen | None = None
                for pruner_name, budget in jobs(pruners, budgets):
                    pruner = pruners[pruner_name]
                    keys = [
                        (vlm.name, pruner_name, pruner.checkpoint, items.name, e.item, budget, str(seed)) for e in part
                    ]
                    _refuse_changed(out, [known.get(key) for key in keys], part)
                    if any(key not in known for key in keys):
                        seen = seen or _see(vlm, part, clock)
                        answered = _answer(vlm, pruner_name, pruner, items, seen, budget, seed, clock)
                        for row in answered:
                            if row.key not in known:
                                known[row.key] = row
                                file.write(json.dumps(asdict(row)) + "\n")
                        file.flush()
                    rows += [known[key] for key in keys]
    return rows


def _refuse_changed(out: Path, rows: Sequence[Row | None], examples: Sequence[Example]) -> None:
    """Raises ValueError if a row that is there already is of other data than its example."""
    for row, example in zip(rows, examples, strict=True):
        if row is not None and row.target != example.answers[0]:
            raise ValueError(f"{out} has another answer of {example.item} than the data have now; give another --out")


@dataclass(frozen=True)
class _Seen:
    """A batch after the vision tower, and how long that took."""

    examples: list[Example]
    encoded: Encoded
    seconds: float


def _see(vlm: FrozenVLM, examples: list[Example], clock: Callable[[], float]) -> _Seen:
    start = clock()
    encoded = vlm.encode(vlm.inputs([e.image for e in examples], [e.question for e in examples]))
    vlm.synchronize()
    return _Seen(examples, encoded, clock() - start)


def jobs(pruners: Iterable[str], budgets: Sequence[Budget]) -> Iterator[tuple[str, str]]:
    """(pruner, budget as rows call it); `full` and `blind` once."""
    for name in pruners:
        for budget in (FIXED[name],) if name in FIXED else map(str, budgets):
            yield name, budget


def _answer(
    vlm: FrozenVLM,
    name: str,
    pruner: Pruner,
    items: Items,
    seen: _Seen,
    budget: str,
    seed: int,
    clock: Callable[[], float],
) -> list[Row]:
    """Rows of one batch."""
    import transformers

    examples, encoded = seen.examples, seen.encoded
    start = clock()
    counts = encoded.state.counts
    wanted = Budget(tokens=1) if name in FIXED else Budget.parse(budget)
    k = wanted.each(counts)
    response = vlm.respond(encoded, pruner.select(vlm, encoded, k), items.max_new_tokens)
    vlm.synchronize()
    seconds = (seen.seconds + clock() - start) / len(examples)
    common: dict[str, Any] = {
        "vlm": vlm.name,
        "pruner": name,
        "checkpoint": pruner.checkpoint,
        "benchmark": items.name,
        "budget": budget,
        "seconds": round(seconds, 6),
        "seed": seed,
        "commit": checkpoint.commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": vlm.device.type,
    }
    return [
        Row(
            item=example.item,
            tokens=int(counts[i]),
            kept=round(float(response.per_layer[i])),
            prediction=text,
            target=example.answers[0],
            score=score(example, text, example.answers),
            entering=int(response.entering[i]),
            group=example.group,
            image_id=example.image_id,
            **common,
        )
        for i, (example, text) in enumerate(zip(examples, response.texts, strict=True))
    ]


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`.

    Raises:
        ValueError: the text is something else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise ValueError(f"a shard is i/n, such as 2/8, got {text!r}")
    return int(match[1]), int(match[2])
