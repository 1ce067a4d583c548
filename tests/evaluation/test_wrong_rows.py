"""What is not a row of `evaluate` is refused with its file, its line, its field and what would be right."""

import gzip
import json
import os
from dataclasses import asdict

import pytest
from toolkit.rows import rows

from grip_vlm import strict_json
from grip_vlm.evaluation.rows import read, read_rows

GOOD = asdict(rows("random", {"one": [1.0]})[0])
TYPES = {
    "vlm": [1, None],
    "pruner": [["grip"], True],
    "checkpoint": [None, 0.5],
    "benchmark": [{}, 3],
    "item": [7, ["one"]],
    "budget": [0.1, 64, "", "lots", "0", "2.5", "-3"],
    "tokens": ["200", 1.5, True, None, 0, -1],
    "kept": ["20", 2.5, None, -1, 201],
    "prediction": [None, 4],
    "target": [["b"], False],
    "score": ["1", None, True, -0.1, 1.1, 1e400],
    "seconds": ["fast", None, -0.5, [1]],
    "seed": ["0", 0.5, None],
    "commit": [12, None],
    "device": [0, {}],
    "entering": ["20", 1.5, True, 201, -1],
    "group": [None, 3],
    "image_id": [5, None],
    "weights": [None, 5],
}
WRONG = [(field, value) for field, values in TYPES.items() for value in values]


def lines(path, *raw):
    path.write_bytes(b"".join((json.dumps(one).encode() if isinstance(one, dict) else one) + b"\n" for one in raw))
    return path


def test_a_good_row_is_read(tmp_path):
    assert asdict(read(lines(tmp_path / "rows.jsonl", GOOD))[0][0]) == GOOD


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda part: str(part)[:20])
def test_a_wrong_value_is_named_by_file_line_and_field(tmp_path, field, value):
    text = json.dumps({**GOOD, field: value}).replace("Infinity", "1e400").encode()
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 2 is not a row of `evaluate`: {field}( must be |: ).*"):
        read(lines(tmp_path / "rows.jsonl", GOOD, text))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kept", 300, "kept must be between 0 and the item's 200 tokens, not 300"),
        ("tokens", "200", r"tokens must be a whole number, not a text \('200'\)"),
        ("entering", 1.5, r"entering must be a whole number or null, not a number \(1.5\)"),
        ("score", 1.5, "score must be between 0 and 1, not 1.5"),
        ("budget", "0", "budget: .*a budget is a whole number of tokens"),
    ],
)
def test_the_message_says_what_would_be_right(tmp_path, field, value, message):
    with pytest.raises(ValueError, match=message):
        read(lines(tmp_path / "rows.jsonl", {**GOOD, field: value}))


BAD = {
    "NaN": (json.dumps(GOOD).replace('"score": 1.0', '"score": NaN').encode(), "NaN is not a number of JSON"),
    "infinite": (json.dumps(GOOD).replace('"score": 1.0', '"score": -Infinity').encode(), "-Infinity is not a number"),
    "a missing field": ({k: v for k, v in GOOD.items() if k != "seed"}, "the field 'seed' is missing"),
    "an unknown field": ({**GOOD, "mood": "good"}, "the field 'mood' is unknown"),
    "a list": (b"[1, 2]", "it is a list, not an object with fields"),
    "nested lists": (b"[" * 100_000, "it is nested too deeply"),
    "nested objects": (b'{"vlm": ' * 100_000, "it is nested too deeply"),
    "not UTF-8": (b'{"vlm": "caf\xe9"}', "the text is not UTF-8"),
    "half of a character": (json.dumps({**GOOD, "item": "\ud83d"}).encode(), "half of a character"),
    "a long number": (b'{"vlm": ' + b"9" * 5000 + b"}", "digits"),
    "a long line": (json.dumps({**GOOD, "prediction": "a" * 2**20}).encode(), "line 1 is longer than 1048576 bytes"),
    "an empty line": (b"", "Expecting value"),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_a_line_that_is_no_row_is_refused_with_the_reason(tmp_path, bad, message):
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 1 .*{message}|rows\.jsonl, {message}"):
        read(lines(tmp_path / "rows.jsonl", bad))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + (json.dumps(GOOD) + "\r\n").encode() * 2)
    assert len(read(tmp_path / "rows.jsonl")[0]) == 2


def test_an_archive_that_unpacks_to_one_long_line_is_refused_unread(tmp_path):
    with gzip.open(tmp_path / "rows.jsonl.gz", "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b" " * 2**20)
    with pytest.raises(ValueError, match=r"rows\.jsonl\.gz, line 1 is longer than 1048576 bytes"):
        read_rows([tmp_path / "rows.jsonl.gz"])


def test_a_file_of_too_many_bytes_is_refused(tmp_path):
    path = lines(tmp_path / "rows.jsonl", GOOD, GOOD)
    with pytest.raises(ValueError, match=r"rows\.jsonl holds more than 600 bytes; split it into several files"):
        list(strict_json.lines(path, 600))


@pytest.mark.parametrize(
    "content", [b"no archive", gzip.compress(b"{}" * 99, mtime=0)[:-9], b"\x1f\x8b\x08\x00garbage....."]
)
def test_a_broken_archive_is_named(tmp_path, content):
    (tmp_path / "rows.jsonl.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.jsonl\.gz cannot be decompressed"):
        read_rows([tmp_path / "rows.jsonl.gz"])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="is not a file"):
        read(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match="no rows at"):
        read_rows([tmp_path / "rows.jsonl"])
