"""One part of a batch job: its rows answered in batches. A row that cannot be answered becomes one with its error."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from grip_vlm.allot import allot
from grip_vlm.budget import Budget
from grip_vlm.memory import is_out_of_memory
from grip_vlm.pruners import Pruner
from grip_vlm.serving.batch.source import image_of
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.prompts import check_texts


@dataclass(frozen=True)
class Outcome:
    """What becomes of one row: an answer, or an error."""

    budget: str | None = None
    """The budget that was asked for, as text."""
    prediction: str | None = None
    tokens: int | None = None
    """Visual tokens of the image."""
    kept: int | None = None
    """Visual tokens per layer of the language model, rounded."""
    error: str | None = None


@dataclass(frozen=True)
class _Asked:
    image: Image.Image
    question: str
    budget: Budget


def answered(
    vlm: FrozenVLM,
    pruner: Pruner,
    rows: Sequence[dict[str, Any] | str],
    folder: Path,
    budget: Budget,
    *,
    batch: int,
    max_new_tokens: int,
) -> list[Outcome]:
    """The outcome of each row.

    Args:
        rows: with `image`, `question` and perhaps `budget`; or a sentence that says why there is no row.
        folder: relative paths of images start here, or in `images` in it.
        budget: of rows that have none.
        batch: rows answered together. Rows with an error take no place in a batch.
    """
    outcomes: list[Outcome | None] = [None] * len(rows)
    waiting: list[tuple[int, _Asked]] = []

    def flush() -> None:
        found = _together(vlm, pruner, [asked for _, asked in waiting], max_new_tokens)
        for (place, _), outcome in zip(waiting, found, strict=True):
            outcomes[place] = outcome
        waiting.clear()

    for place, row in enumerate(rows):
        try:
            waiting.append((place, _asked(row, folder, budget)))
        except ValueError as error:
            outcomes[place] = Outcome(error=str(error))
        if len(waiting) == batch:
            flush()
    if waiting:
        flush()
    return [outcome for outcome in outcomes if outcome is not None]


def _asked(row: dict[str, Any] | str, folder: Path, budget: Budget) -> _Asked:
    if isinstance(row, str):
        raise ValueError(row)
    question = row.get("question")
    if not isinstance(question, str):
        raise ValueError("question is missing or not a text")
    check_texts("question", [question])
    own = row.get("budget")
    return _Asked(image_of(row.get("image"), folder), question, budget if own is None else Budget.parse(own))


def _together(vlm: FrozenVLM, pruner: Pruner, asked: Sequence[_Asked], max_new_tokens: int) -> list[Outcome]:
    """The outcomes of one batch. If the batch fails, its rows are answered one by one, so that one cannot harm others.

    Memory that runs out is an error of a row only if the row is alone.
    """
    try:
        encoded = vlm.encode(vlm.inputs([one.image for one in asked], [one.question for one in asked]))
        k = allot([one.budget for one in asked], pruner, vlm, encoded, max_new_tokens)
        response = vlm.respond(encoded, pruner.select(vlm, encoded, k.to(vlm.device)), max_new_tokens)
    except (ValueError, RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        if len(asked) == 1:
            return [Outcome(str(asked[0].budget), error=" ".join(str(error).split()) or type(error).__name__)]
    else:
        return [
            Outcome(str(one.budget), text, int(tokens), round(float(kept)))
            for one, text, tokens, kept in zip(
                asked, response.texts, encoded.state.counts, response.per_layer, strict=True
            )
        ]
    return [outcome for one in asked for outcome in _together(vlm, pruner, [one], max_new_tokens)]
