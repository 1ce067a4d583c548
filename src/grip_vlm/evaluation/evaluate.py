"""Evaluation: VLM x pruners x benchmarks x budgets -> rows on disk, one per answered item. It can be resumed."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from grip_vlm import checkpoint
from grip_vlm.allot import allot
from grip_vlm.benchmarks import Evidence, Example, score
from grip_vlm.benchmarks.digests import digest_of_image, digest_of_text
from grip_vlm.benchmarks.items import Items
from grip_vlm.budget import Budget
from grip_vlm.evaluation import facts
from grip_vlm.evaluation.output import Rows, opened
from grip_vlm.evaluation.row import FIXED, Row
from grip_vlm.mdp import Action, State
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import Encoded, FrozenVLM
from grip_vlm.vlms.places import grid_of
from grip_vlm.vlms.weights import digest_of_vlm


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
        out: JSON lines, made when there is a row. Rows that are already in it are not computed again.
        limit: items per benchmark.
        shard: (i, n) answers every n-th item from the i-th, 1 <= i <= n, which splits a run over n machines.
        seed: goes into the rows. Methods that sample at random take their seed when they are loaded.
        batch: items answered together.
        clock: returns seconds.

    Returns:
        The rows of all these items, old and new.

    Raises:
        ValueError: the shard is impossible, a benchmark is named twice, another process writes to `out`, or `out` is
            compressed, holds something else than rows, or rows of something that has changed since: an item, the
            VLM's weights or precision, or a scorer.
        OSError: `out` cannot be written.
    """
    first, step = check_shard(*shard)
    if len({items.name for items in benchmarks}) < len(benchmarks):
        raise ValueError("a benchmark is named twice; its items would count twice")
    rows = []
    bars = Console(stderr=True)
    with opened(out) as file:
        common = common_fields(vlm, seed)
        file.refuse_changed(facts_of(vlm, pruners, budgets, common))
        for items in benchmarks:
            indices = range(first - 1, min(limit, items.count), step)
            starts, hidden = range(0, len(indices), batch), not bars.is_terminal  # an empty line would be left
            for start in track(starts, description=items.name, transient=True, console=bars, disable=hidden):
                part = indices[start : start + batch]
                rows += answer_items(vlm, pruners, items, part, budgets, file, common, clock)
    return rows


def answer_items(
    vlm: FrozenVLM,
    pruners: dict[str, Pruner],
    items: Items,
    indices: Sequence[int],
    budgets: Sequence[Budget],
    rows: Rows,
    common: Mapping[str, Any],
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """The rows of a few items, answered together. Those that are missing in `rows` are answered and added to it.

    Args:
        common: from `common_fields`.

    Raises:
        ValueError: rows of something that has changed since are there.
    """
    examples = [items.example(i) for i in indices]
    blanks = [_blank(items, example, common) for example in examples]
    for blank in blanks:
        rows.refuse_changed(facts.of_row(blank))
    encoded: _EncodedBatch | None = None
    all_rows = []
    for name, budget in jobs(pruners, budgets):
        checkpoint_ = pruners[name].checkpoint_for(_parsed(name, budget))
        wanted = [replace(b, pruner=name, checkpoint=checkpoint_, budget=budget) for b in blanks]
        if any(row.key not in rows.rows for row in wanted):
            encoded = encoded or _encode(vlm, examples, clock)
            rows.append(_answer(vlm, pruners[name], items, encoded, wanted, clock))
        else:
            _skip(vlm, pruners[name], [rows.rows[row.key] for row in wanted])
        all_rows += [rows.rows[row.key] for row in wanted]
    return all_rows


def common_fields(vlm: FrozenVLM, seed: int) -> dict[str, Any]:
    """The fields that all rows of a call share."""
    import transformers

    return {
        "vlm": vlm.name,
        "seed": seed,
        "commit": checkpoint.commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": vlm.device.type,
        "precision": str(vlm.model.dtype).removeprefix("torch."),
        "weights": digest_of_vlm(vlm),
    }


def facts_of(
    vlm: FrozenVLM, pruners: Mapping[str, Pruner], budgets: Sequence[Budget], common: Mapping[str, Any]
) -> Iterator[facts.Fact]:
    """What rows of another call must agree on with this one, but for the items."""
    yield from facts.of_vlm(vlm.name, common["precision"], common["weights"])
    for name, budget in jobs(pruners, budgets):
        yield from facts.of_scorer(name, pruners[name].checkpoint_for(_parsed(name, budget)), common["seed"])


def _blank(items: Items, example: Example, common: Mapping[str, Any]) -> Row:
    """The row of an item before a pruner and a budget are chosen, and before there is an answer."""
    return Row(
        benchmark=items.name,
        item=example.item,
        target=example.answers[0],
        group=example.group,
        image_id=example.image_id,
        question_digest=digest_of_text(example.question),
        image_digest=digest_of_image(example.image),
        # Changed evidence makes another item, too: the recall of older rows would be about other facts.
        answers_digest=digest_of_text(*example.answers, example.group, *_known(example.evidence)),
        **{"pruner": "", "checkpoint": "", "budget": "", "prediction": "", **common},
        tokens=0,
        kept=0,
        score=0.0,
        seconds=0.0,
    )


def _known(evidence: Evidence | None) -> tuple[str, ...]:
    return () if evidence is None else (repr(evidence),)


def evidence_recall(example: Example, state: State, reached: Action, row: int) -> float | None:
    """Recall of an example's evidence by the tokens of one row that reach the last layer; see `Evidence.recall`.

    None if the example knows no facts, or the row's visual tokens are not one grid over its image. Where tokens are
    merged, those that were merged into others do not count.
    """
    if example.evidence is None:
        return None
    valid = state.visual_mask[row]
    places = state.places[row, valid].cpu().float()
    if grid_of(places) is None:
        return None
    return example.evidence.recall(places.numpy(), reached.mask[row, valid].cpu().numpy())


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
        for budget in (FIXED[name],) if name in FIXED else dict.fromkeys(map(str, budgets)):
            yield name, budget


def _skip(vlm: FrozenVLM, pruner: Pruner, rows: Sequence[Row]) -> None:
    """Let the pruner count answers that it does not give again, for what comes after them."""
    budget = _parsed(rows[0].pruner, rows[0].budget)
    pruner.given(vlm, budget, [(row.tokens, row.kept) for row in rows])


def _parsed(pruner: str, budget: str) -> Budget:
    """The budget of a job."""
    return Budget(tokens=1) if pruner in FIXED else Budget.parse(budget)


def _answer(
    vlm: FrozenVLM,
    pruner: Pruner,
    items: Items,
    batch: _EncodedBatch,
    blanks: Sequence[Row],
    clock: Callable[[], float],
) -> list[Row]:
    """The rows of one batch, of which `blanks` have all but what the answers give."""
    examples, encoded = batch.examples, batch.encoded
    name, budget = blanks[0].pruner, blanks[0].budget
    start = clock()
    counts = encoded.state.counts
    parsed = _parsed(name, budget)
    k = allot([parsed] * len(examples), pruner, vlm, encoded, items.max_new_tokens)
    response = vlm.respond(encoded, pruner.select(vlm, encoded, k), items.max_new_tokens)
    vlm.synchronize()
    seconds = (batch.seconds + clock() - start) / len(examples)
    return [
        replace(
            blank,
            tokens=int(counts[i]),
            kept=round(float(response.per_layer[i])),
            prediction=text,
            score=score(example, text, example.answers),
            seconds=round(seconds, 6),
            entering=int(response.entering[i]),
            evidence_recall=evidence_recall(example, encoded.state, response.reached, i),
        )
        for i, (blank, example, text) in enumerate(zip(blanks, examples, response.texts, strict=True))
    ]


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` -> (i, n).

    Raises:
        ValueError: the text has another form, or the shard is impossible.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise ValueError(f"a shard is i/n, such as 2/8, got {text!r}")
    return check_shard(int(match[1]), int(match[2]))


def check_shard(first: int, step: int) -> tuple[int, int]:
    """The shard itself. Raises a ValueError if it is impossible."""
    if not 1 <= first <= step:
        raise ValueError(f"a shard is i/n with 1 <= i <= n, got {first}/{step}")
    return first, step
