"""A value that must be one of a few words: those of a `Literal`."""

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin


def check(name: str, value: Any, words: Any) -> None:
    """Refuse a value that is not one of the words.

    Args:
        name: of the argument, for the message.
        words: a `Literal`.

    Raises:
        ValueError: the message names the words.
    """
    known = get_args(words)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r}")


def check_fields(settings: Any) -> None:
    """`check` for every field of a dataclass whose type is a `Literal`.

    Raises:
        ValueError: the message names the first field that is wrong, and its words.
    """
    for field in fields(settings):
        if get_origin(field.type) is Literal:
            check(field.name, getattr(settings, field.name), field.type)
