"""One row: an item answered once, with what decides the answer. Values that no computation gives are refused."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from grip_vlm.budget import Budget
from grip_vlm.strict_json import check_fields

FIXED = {"full": "1.0", "blind": "0"}  # pruners that ignore the budget -> the budget that their rows carry


@dataclass(frozen=True)
class Row:
    """One item answered once. The fields are a public contract."""

    vlm: str
    """Name of the VLM: a folder or a hub identifier."""
    pruner: str
    checkpoint: str
    """Folder and weight hash of a trained pruner; empty for an untrained one."""
    benchmark: str
    item: str
    """Identifier of the item in its benchmark."""
    budget: str
    """The budget that was asked for, as text: `0.1`, `64`, `auto:0.02`. `kept` is what was given."""
    tokens: int
    """Visual tokens of the item."""
    kept: int
    """Visual tokens per layer of the language model, mean over layers, rounded."""
    prediction: str
    target: str
    """The first of the item's answers."""
    score: float
    """The benchmark's score of the prediction, in [0, 1]."""
    seconds: float
    """Seconds per item: vision tower, pruner and language model. The time of a batch is divided by its size. The tower
    runs once for all pruners, and its time counts for each of them."""
    seed: int
    commit: str
    torch: str
    transformers: str
    device: str
    entering: int | None = None
    """Visual tokens that enter the language model; None in older files."""
    group: str = ""
    """Category used by the benchmark's aggregate metric; empty in older files."""
    image_id: str = ""
    """Shared by all items about one image; they are bootstrapped together. Empty if every item has its own image."""
    question_digest: str = ""
    """Tells the item's question from others, as do the next two for its pixels and its answers. Older files have none
    of them, nor the precision and the weights."""
    image_digest: str = ""
    answers_digest: str = ""
    precision: str = ""
    """Of the VLM's weights, such as `float32`."""
    weights: str = ""
    """Tells the VLM's weights and processor from others: a digest of all of them."""
    evidence_recall: float | None = None
    """Share of the facts that the answer needs of which a patch reached the last layer (`benchmarks/evidence.py`). None
    if the benchmark does not know them, there are none, or the visual tokens are not one grid over the image."""

    @property
    def job(self) -> tuple[str, ...]:
        """What was to be computed, by its names."""
        return (self.vlm, self.pruner, self.checkpoint, self.benchmark, self.item, self.budget, str(self.seed))

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies a computation by its content: rows with equal keys are the same one."""
        content = self.question_digest, self.image_digest, self.answers_digest, self.precision, self.weights
        return (*self.job, *content)


def row_of(values: Any) -> Row:
    """The row that a JSON object describes.

    Raises:
        ValueError: a field is missing, unknown, of another type, or impossible; the message says what would be right.
    """
    check_fields(Row, values)
    row = Row(**values)
    if not 0 <= row.score <= 1:
        raise ValueError(f"score must be between 0 and 1, not {row.score}")
    if row.evidence_recall is not None and not 0 <= row.evidence_recall <= 1:
        raise ValueError(f"evidence_recall must be between 0 and 1, not {row.evidence_recall}")
    if row.tokens < 1:
        raise ValueError(f"tokens must be at least 1, not {row.tokens}")
    for name, value in (("kept", row.kept), ("entering", row.entering)):
        if value is not None and not 0 <= value <= row.tokens:
            raise ValueError(f"{name} must be between 0 and the item's {row.tokens} tokens, not {value}")
    if row.seconds < 0:
        raise ValueError(f"seconds must be at least 0, not {row.seconds}")
    if row.budget != FIXED.get(row.pruner):
        _check_budget(row.budget)
    return row


@lru_cache(64)
def _check_budget(budget: str) -> None:
    try:
        Budget.parse(budget)
    except ValueError as error:
        raise ValueError(f"budget: {error}") from error
