"""A value that must be one of a few words: those of a `Literal`."""

from typing import Any, get_args


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
