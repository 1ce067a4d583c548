"""The file that `evaluate` appends to: its rows so far, and one process at a time that writes it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from grip_vlm.evaluation import facts
from grip_vlm.evaluation.row import Row
from grip_vlm.evaluation.rows import repair
from grip_vlm.files import exclusive


class Rows:
    """Rows by their keys, and the facts that they agree on.

    Args:
        path: of the file that the rows belong to, for messages.

    Raises:
        ValueError: rows disagree on a fact, or are of an older version.
    """

    def __init__(self, path: Path, rows: Sequence[Row]) -> None:
        if any(not row.weights for row in rows):
            raise ValueError(
                f"{path} has rows of an older version, which do not say what was asked of which weights; `pareto` "
                "reads them, but nothing is added to them: give another --out"
            )
        self.path = path
        self.rows = {row.key: row for row in rows}
        self.facts: dict[str, str] = {}
        facts.collect(rows, self.facts, str(path))

    def refuse_changed(self, now: Iterable[facts.Fact]) -> None:
        """Raise a ValueError if there are rows that were computed from something else than what is there now."""
        facts.refuse_changed(now, self.facts, self.path)

    def append(self, rows: Sequence[Row]) -> list[Row]:
        """Add the rows that are not there yet, and return them."""
        new = [row for row in rows if row.key not in self.rows]
        facts.collect(new, self.facts, str(self.path))
        self.rows.update((row.key, row) for row in new)
        return new


class RowFile(Rows):
    """A file of rows, each of which is written once, when it is added."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, repair(path))

    def append(self, rows: Sequence[Row]) -> list[Row]:
        new = super().append(rows)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in new))
        return new


@contextmanager
def opened(path: Path) -> Iterator[RowFile]:
    """The file, which no other process writes meanwhile. Where no row was written, neither file nor folder is left.

    Raises:
        ValueError: another process writes to it, or it holds something else than rows of this version.
        OSError: it cannot be written.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        with exclusive(path):
            yield RowFile(path)
    finally:
        if not path.exists():
            for folder in made:
                with suppress(OSError):  # something else was put into it
                    folder.rmdir()


def refuse(path: Path) -> None:
    """Raise what `opened` raises, before anything costly is done for rows that could not be written."""
    with opened(path):
        pass
