"""JSON that somebody else wrote: parsed without surprises, and checked field by field against a dataclass.

Ours, because a validation library would take longer to import than most files of rows take to read.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, get_args, get_origin

MAX_LINE = 2**20  # bytes: no line of rows, or of questions about images, is that long
WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}
WORDS |= {list: "a list", type(None): "null"}
LARGEST = 2**30  # bytes of a file of records, uncompressed: two million rows of `evaluate`
Record = TypeVar("Record")


def parse(data: bytes) -> Any:
    """The value of one JSON text in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: it is not UTF-8 or not JSON, NaN or an infinite number stands in it, a field stands twice, it is
            nested too deeply, or a text in it holds half of a character (a lone surrogate).
    """
    try:
        text = data.decode("utf-8-sig")
        value = _decoder().decode(text)
        if re.search(r"\\u[dD]", text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the text is not UTF-8: {error.reason} at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a character (a lone surrogate)") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def lines(path: Path, most: int | None = None, max_line: int = MAX_LINE) -> Iterator[bytes]:
    """The lines of a file with their ends, one at a time; decompressed if the name ends in .gz.

    Args:
        most: bytes of all lines together, uncompressed. None sets no limit.
        max_line: bytes of a line.

    Raises:
        ValueError: the path is no file, a line or the whole is too long, or it cannot be decompressed.
    """
    if not os.path.isfile(path):  # a pipe would be waited for, without end
        raise ValueError(f"{str(path)!r} is not a file")
    number = total = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            while line := file.readline(max_line + 1):
                number, total = number + 1, total + len(line)
                if len(line) > max_line:
                    raise ValueError(f"{path}, line {number} is longer than {max_line} bytes")
                if most is not None and total > most:
                    raise ValueError(f"{path} holds more than {most} bytes; split it into several files")
                yield line
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be decompressed: {error}") from error


def records(path: Path, of: Callable[[Any], Record], start: bytes, what: str) -> tuple[list[Record], int]:
    """The records in a file of JSON lines that grows at its end. A missing file has none.

    A last line that was cut off while it was written is skipped.

    Args:
        path: compressed if the name ends in .gz.
        of: makes a record of a JSON value, or raises a ValueError.
        start: the first bytes of every record, by which one that was cut off is told from something else.
        what: a record is, for the message.

    Returns:
        The records, and how many bytes of the uncompressed file they take.

    Raises:
        ValueError: a complete line is no record (the message says why), or the file is too large, no file, or cannot be
            decompressed.
    """
    if not path.exists():
        return [], 0
    found: list[Record] = []
    good = 0
    for number, line in enumerate(lines(path, LARGEST), start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no end of line")
            found.append(of(parse(line)))
        except ValueError as error:
            begins = line.startswith(start) or start.startswith(line)
            if line.endswith(b"\n") or not begins:
                raise ValueError(f"{path}, line {number} is not {what}: {error}") from error
            break
        good += len(line)
    return found, good


def repaired(path: Path, read: Callable[[Path], tuple[list[Record], int]]) -> list[Record]:
    """The records of a file that is about to grow. A cut-off last line is removed from the file.

    Args:
        read: gives what `records` gives.

    Raises:
        ValueError: the file holds something else or is compressed.
    """
    if path.suffix == ".gz":
        raise ValueError(f"rows cannot be appended to {path} because it is compressed; give a name without .gz")
    rows, good = read(path)
    if path.exists():
        os.truncate(path, good)
    return rows


class _Rule(NamedTuple):
    """What the value of one field may be."""

    name: str
    types: frozenset[type]
    words: tuple[str, ...]
    """Of a Literal; empty if any text is allowed."""
    required: bool


def check_fields(cls: type, values: Any) -> None:
    """Refuse an object whose fields are not those of a dataclass, or have values of another type.

    A whole number is accepted as a float. Types of what dictionaries hold are not checked.

    Raises:
        ValueError: the message names the field and what would be right.
    """
    if type(values) is not dict:
        raise ValueError(f"it is {_described(values)}, not an object with fields")
    rules, missing = _rules(cls), 0
    for rule in rules:
        value = values.get(rule.name, MISSING)
        if value is MISSING:
            missing += 1
            if rule.required:
                raise ValueError(f"the field {rule.name!r} is missing")
        elif type(value) not in rule.types or (rule.words and value not in rule.words):
            raise ValueError(f"{rule.name} must be {_allowed(rule)}, not {_described(value)}")
        elif type(value) is float and not isfinite(value):
            raise ValueError(f"{rule.name} must be a finite number, not {value}")
    if len(values) > len(rules) - missing:
        unknown = sorted(set(values) - {rule.name for rule in rules})
        raise ValueError(f"the field {unknown[0]!r} is unknown")


@cache
def _rules(cls: type) -> list[_Rule]:
    rules = []
    for field in fields(cls):
        kinds = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
        words = get_args(field.type) if get_origin(field.type) is Literal else ()
        types = {str} if words else {get_origin(kind) or kind for kind in kinds}
        types |= {int} if float in types else set()
        required = field.default is MISSING and field.default_factory is MISSING
        rules.append(_Rule(field.name, frozenset(types), words, required))
    return rules


def _allowed(rule: _Rule) -> str:
    if rule.words:
        return f"one of {', '.join(map(repr, rule.words))}"
    types = rule.types - ({int} if float in rule.types else set())
    return " or ".join(sorted(WORDS[kind] for kind in types))


def _described(value: Any) -> str:
    """A value in a message: its kind, and itself if it is short."""
    text = repr(value) if isinstance(value, (str, float, bool)) else str(value) if type(value) is int else ""
    return f"{WORDS.get(type(value), type(value).__name__)}{f' ({text})' if 0 < len(text) <= 40 else ''}"


@cache
def _decoder() -> json.JSONDecoder:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number of JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):  # a parser would take the last and say nothing of the others
            names = [name for name, _ in pairs]
            raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} stands twice")
        return values

    return json.JSONDecoder(parse_constant=refuse, object_pairs_hook=once)
