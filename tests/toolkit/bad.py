"""Bad values by kind. Each dictionary maps the name of a case to its value."""

import sys

SURROGATE, NUL, ESCAPE = "caf\udce9", "a\0b", "\x1b[31mred"
STRANGE = {"bytes that are no text": SURROGATE, "a null byte": NUL, "control characters": ESCAPE}
DIGITS = "9" * 5000

NOT_WHOLE = {
    "nothing": "",
    "a word": "x",
    "a fraction": "1.5",
    "not a number": "nan",
    "infinity": "inf",
    "a power": "1e3",
    "hexadecimal": "0x10",
    "a list": "1,2",
    "five thousand digits": DIGITS,
    "a sign": "-",
    **STRANGE,
}
NOT_A_NUMBER = {"nothing": "", "a word": "x", "a comma": "1,5", "a percentage": "10%", "a list": "[1]", **STRANGE}
NOT_FINITE = {"not a number": "nan", "infinity": "inf", "minus infinity": "-inf", "beyond all floats": "1e400"}
NOT_A_WORD = {"nothing": "", "a word": "magic", "a number": "0", **STRANGE}
NOT_A_BUDGET = {
    "nothing": "",
    "zero": "0",
    "negative": "-1",
    "more than all": "1.5",
    "more per cent": "150%",
    "none": "0%",
    "words": "ten per cent",
    "a ratio": "1/2",
    "hexadecimal": "0x10",
    "two points": "0.1.2",
    "two signs": "10%%",
    "five thousand digits": DIGITS,
    "five thousand places": f"0.{DIGITS}",
    "a large power": "1e999999999",
    "other digits": "\u0661",
    "not a number": "nan",
    "infinity": "inf",
    **STRANGE,
}

# ---- paths, as `folder` of tests/battery/conftest.py lays them out ---------------------------------------------------

NO_PATH = {
    "missing": "no-such-thing",
    "below a file": "file/thing",
    "a pipe": "pipe",
    "a device": "device",
    "a loop of links": "loop",
    "a dangling link": "dangling",
    "a long name": "a" * 300,
    "a long path": "a/" * 2200,
    **STRANGE,
}
NO_FILE = {"nothing": "", "a folder": "folder", **NO_PATH}
NO_OUTPUT = {"below a file": "file/thing", "a long name": "a" * 300, "a null byte": NUL}
NO_OUTPUT_FILE = {"a folder": "folder", "nothing": "", "a pipe": "pipe", "a device": "device", **NO_OUTPUT}
NO_OUTPUT_FOLDER = {"a file": "file", "a foreign folder": "foreign", "nothing": "", "a pipe": "pipe", **NO_OUTPUT}

# ---- JSON ------------------------------------------------------------------------------------------------------------

JSON_OF_TYPE = {
    str: {"a text": "x"},
    int: {"a whole number": 7},
    float: {"a number": 0.5},
    bool: {"true": True},
    list: {"a list": [1]},
    dict: {"an object": {"x": 1}},
    type(None): {"null": None},
}


def of_other_types(*types):
    """JSON values of every type but some."""
    return {name: value for kind, named in JSON_OF_TYPE.items() if kind not in types for name, value in named.items()}


NESTED = sys.getrecursionlimit() * 100
NOT_JSON = {
    "nothing at all": b"",
    "half of an object": b'{"vlm": ',
    "a word": b"hello",
    "a number": b"7",
    "a list": b"[1, 2]",
    "null": b"null",
    "a text": b'"text"',
    "two values": b"{} {}",
    "a single quote": b"{'a': 1}",
    "a null byte": b"\0",
    "nested lists": b"[" * NESTED,
    "nested objects": b'{"a":' * NESTED,
    "bytes that are no text": b'{"a": "caf\xe9"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "five thousand digits": b'{"a": %s}' % DIGITS.encode(),
    "half of a character": b'{"a": "\\ud83d"}',
    "not a number": b'{"a": NaN}',
    "an infinite number": b'{"a": -Infinity}',
}
