"""Evaluation: VLM x pruners x benchmarks x budgets -> rows on disk, one per answered item. It can be resumed."""

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
    benchmarks: Sequence[Items],
    budgets: Sequence[Budget],
    out: Path,
    *,
    limit: int = 100,
    shard: tuple[int, int] = (1, 1),
    seed: int = 0,
    batch: int = 32,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Answer items of every benchmark with every pruner at every budget, and append the missing rows to `out`.

    Args:
        benchmarks: from `open_items`.
        out: JSON lines. Rows that are already in it are not computed again.
        limit: items per benchmark.
        shard: (i, n) answers every n-th item from the i-th, 1 <= i <= n, which splits a run over n machines.
        seed: goes into the rows. Methods that sample at random take their seed when they are loaded.
        batch: items answered together.
        clock: returns seconds.

    Returns:
        The rows of all these items, old and new.

    Raises:
        ValueError: the shard is impossible, or `out` is compressed, holds something else than rows, or holds rows of
            items that have changed.
    """
    first, step = shard
    if not 1 <= first <= step:
        raise ValueError(f"a shard is i/n with 1 <= i <= n, got {first}/{step}")
    known = {row.key: row for row in repair(out)}
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    bars = Console(stderr=True)
    with out.open("a", encoding="utf-8") as file:
        for items in benchmarks:
            indices = range(first - 1, min(limit, items.count), step)
            for start in track(range(0, len(indices), batch), description=items.name, transient=True, console=bars):
                examples = [items.example(i) for i in indices[start : start + batch]]
                encoded: _EncodedBatch | None = None
                for pruner_name, budget in jobs(pruners, budgets):
                    pruner = pruners[pruner_name]
                    common = vlm.name, pruner_name, pruner.checkpoint, items.name
                    keys = [(*common, example.item, budget, str(seed)) for example in examples]
                    _refuse_changed(out, [known.get(key) for key in keys], examples)
                    if any(key not in known for key in keys):
                        encoded = encoded or _encode(vlm, examples, clock)
                        for row in _answer(vlm, pruner_name, pruner, items, encoded, budget, seed, clock):
                            if row.key not in known:
                                known[row.key] = row
                                file.write(json.dumps(asdict(row)) + "\n")
                        file.flush()
                    rows += [known[key] for key in keys]
    return rows


def _refuse_changed(out: Path, rows: Sequence[Row | None], examples: Sequence[Example]) -> None:
    """Raise a ValueError if the target of an existing row differs from its example's."""
    for row, example in zip(rows, examples, strict=True):
        if row is not None and row.target != example.answers[0]:
            raise ValueError(f"{out} has another answer to {example.item} than the data have now; give another --out")


@dataclass(frozen=True)
class _EncodedBatch:
    """A batch after the vision tower, and the seconds that the tower took."""

    examples: list[Example]
    encoded: Encoded
    seconds: float


def _encode(vlm: FrozenVLM, examples: list[Example], clock: Callable[[], float]) -> _EncodedBatch:
    start = clock()
    encoded = vlm.encode(vlm.inputs([e.image for e in examples], [e.question for e in examples]))
    vlm.synchronize()
    return _EncodedBatch(examples, encoded, clock() - start)


def jobs(pruners: Iterable[str], budgets: Sequence[Budget]) -> Iterator[tuple[str, str]]:
    """(pruner, budget as in rows) of every job. `full` and `blind` ignore budgets and appear once."""
    for name in pruners:
        for budget in (FIXED[name],) if name in FIXED else map(str, budgets):
            yield name, budget


def _answer(
    vlm: FrozenVLM,
    name: str,
    pruner: Pruner,
    items: Items,
    batch: _EncodedBatch,
    budget: str,
    seed: int,
    clock: Callable[[], float],
) -> list[Row]:
    """The rows of one batch."""
    import transformers

    examples, encoded = batch.examples, batch.encoded
    start = clock()
    counts = encoded.state.counts
    parsed = Budget(tokens=1) if name in FIXED else Budget.parse(budget)
    k = parsed.each(counts)
    response = vlm.respond(encoded, pruner.select(vlm, encoded, k), items.max_new_tokens)
    vlm.synchronize()
    seconds = (batch.seconds + clock() - start) / len(examples)
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
    """`i/n` -> (i, n).

    Raises:
        ValueError: the text has another form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise ValueError(f"a shard is i/n, such as 2/8, got {text!r}")
    return int(match[1]), int(match[2])
