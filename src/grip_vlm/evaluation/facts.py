"""Facts that all rows of one table must agree on: the VLM's weights and precision, scorers, and the items' content.

A fact is a subject, such as "the question of reading/test/0", and its value. Rows of older files know few facts, and
what they do not know is not compared.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from grip_vlm.evaluation.row import Row

Fact = tuple[str, str]


class Content(NamedTuple):
    """Digests of an item."""

    question: str
    image: str
    answers: str


def of_vlm(name: str, precision: str, weights: str) -> list[Fact]:
    """Facts of a loaded VLM."""
    return [(f"precision of {name}", precision), (f"set of weights or processor of {name}", weights)]


def of_scorer(pruner: str, checkpoint: str, seed: int) -> list[Fact]:
    """Facts of a trained pruner, whose `checkpoint` is FOLDER@DIGEST. None for an untrained one."""
    folder, at, digest = checkpoint.rpartition("@")
    return [(f"scorer of {pruner} in {folder} with seed {seed}", digest)] if at else []


def of_item(item: str, content: Content) -> list[Fact]:
    """Facts of an item."""
    subjects = f"question of {item}", f"image of {item}", f"answer to {item}"
    return list(zip(subjects, content, strict=True))


def of_row(row: Row) -> Iterator[Fact]:
    """All facts that a row knows."""
    if row.weights:
        yield from of_vlm(row.vlm, row.precision, row.weights)
        yield from of_item(row.item, Content(row.question_digest, row.image_digest, row.answers_digest))
    if row.checkpoint:
        yield from of_scorer(row.pruner, row.checkpoint, row.seed)


def collect(rows: Iterable[Row], known: dict[str, str], where: str) -> None:
    """Add the facts of rows to those that are known, subject -> value.

    Args:
        where: the rows come from, for the message.

    Raises:
        ValueError: two rows disagree.
    """
    for row in rows:
        for subject, value in of_row(row):
            if known.setdefault(subject, value) != value:
                raise ValueError(
                    f"{where} brings a second {subject} ({known[subject]} and {value}); such rows cannot share a table"
                )


def refuse_changed(now: Iterable[Fact], known: Mapping[str, str], out: Path) -> None:
    """Raise a ValueError if a fact is not what the rows in `out` know."""
    for subject, value in now:
        if known.get(subject, value) != value:
            raise ValueError(
                f"{out} has rows of another {subject} ({known[subject]}, now it is {value}); give another --out"
            )
