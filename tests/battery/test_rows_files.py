"""`pareto` refuses whatever is not a file of rows, by its file and line, and outputs that cannot be written."""

import gzip
import json
from dataclasses import asdict, fields
from types import UnionType
from typing import get_args

import pytest
from toolkit import bad
from toolkit.rows import rows

from grip_vlm.evaluation.row import Row

GOOD = asdict(rows("random", {"one": [1.0]})[0])
LINE = json.dumps(GOOD).encode() + b"\n"


def types_of(field):
    return get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)


def wrong_values(field):
    kinds = types_of(field)
    return bad.of_other_types(*kinds, *((int,) if float in kinds else ()))


TYPES = [
    pytest.param(field.name, value, id=f"{field.name} as {name}")
    for field in fields(Row)
    for name, value in wrong_values(field).items()
]
MISSING = [field.name for field in fields(Row) if field.name in list(GOOD)[:17]]  # fields without a default
NUMBERS = {"negative": -1, "beyond all floats": "1e999", "five thousand digits": bad.DIGITS, "above the tokens": 201}
IMPOSSIBLE = [
    pytest.param(name, value, id=f"{name} {how}")
    for name in ("tokens", "kept", "entering", "score", "seconds")
    for how, value in NUMBERS.items()
    if not (name in ("tokens", "seconds") and how == "above the tokens")
]
BUDGETS = [pytest.param(value, id=name) for name, value in bad.NOT_A_BUDGET.items() if value != bad.SURROGATE]
FILES = {
    "no archive": ("rows.jsonl.gz", LINE),
    "half of an archive": ("rows.jsonl.gz", gzip.compress(LINE * 50, mtime=0)[:-20]),
    "a broken archive": ("rows.jsonl.gz", gzip.compress(LINE, mtime=0)[:20] + b"x" * 50),
    "an archive of something else": ("rows.jsonl.gz", gzip.compress(b"\x89PNG\r\n" * 99, mtime=0)),
    "an archive in an archive": ("rows.jsonl.gz", gzip.compress(gzip.compress(LINE), mtime=0)),
    "a picture": ("rows.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(99)),
    "an empty file": ("rows.jsonl", b""),
    "empty lines": ("rows.jsonl", LINE + b"\n\n" + LINE),
    "a whole file as an array": ("rows.jsonl", b"[" + LINE.strip() + b"]\n"),
    "a line of megabytes": ("rows.jsonl", b" " * 2**21 + LINE),
    "two results of one item": ("rows.jsonl", LINE + LINE.replace(b'"score": 1.0', b'"score": 0.0')),
    "two VLMs": ("rows.jsonl", LINE + LINE.replace(b'"vlm": "v"', b'"vlm": "w"')),
}
PATHS = {"an empty folder": "folder", "words": "file", "no rows in it": "foreign", **bad.NO_PATH}
OUTPUTS = [
    pytest.param(flag, value, id=f"{flag} {name}")
    for flag, values in [
        ("--out", bad.NO_OUTPUT_FILE | {"an unknown kind": "figure.xyz"}),
        ("--table", bad.NO_OUTPUT_FILE),
        (
            "--report",
            {
                name: value
                for name, value in bad.NO_OUTPUT_FOLDER.items()
                if name not in ("a foreign folder", "nothing")
            },
        ),
    ]
    for name, value in values.items()
]
FLOPS = {
    "missing": None,
    **bad.NOT_JSON,
    "no VLM": b'{"flops": {}}',
    "another VLM": b'{"vlm": "w", "flops": {}}',
    "no FLOPs": b'{"vlm": "v"}',
    "words": b'{"vlm": "v", "flops": {"grip": {"0.1": "many"}}}',
    "a list": b'{"vlm": "v", "flops": [1]}',
    "null": b'{"vlm": "v", "flops": {"grip": {"0.1": null}}}',
    "few": b'{"vlm": "v", "flops": {"grip": 3}}',
    "negative": b'{"vlm": "v", "flops": {"grip": {"0.1": -1}}}',
    "empty": b'{"vlm": "v", "flops": {}}',
}
CASES = [*TYPES, *MISSING, *IMPOSSIBLE, *BUDGETS, *bad.NOT_JSON, *FILES, *PATHS, *OUTPUTS, *FLOPS]


@pytest.fixture
def pareto(folder, refused):
    """Run `pareto` on a file of these bytes."""

    def run(content, *names, name="rows.jsonl", more=("--table", "table.md")):
        (folder / name).write_bytes(content)
        return refused(["pareto", name, *more], *names)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("field", "value"), TYPES)
def test_a_field_of_another_type_is_named_with_its_line(pareto, field, value):
    line = pareto(LINE + json.dumps({**GOOD, field: value}).encode() + b"\n", "rows.jsonl, line 2")
    assert f": {field} must be " in line


@pytest.mark.parametrize("field", MISSING)
def test_a_missing_field_is_named_with_its_line(pareto, field):
    without = {name: value for name, value in GOOD.items() if name != field}
    assert f"the field '{field}' is missing" in pareto(json.dumps(without).encode() + b"\n", "rows.jsonl, line 1")


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE)
def test_an_impossible_number_is_named_with_its_line(pareto, field, value):
    text = json.dumps({**GOOD, field: "HERE"}).replace('"HERE"', str(value)).encode()
    pareto(text + b"\n", "rows.jsonl, line 1")


@pytest.mark.parametrize("budget", BUDGETS)
def test_an_impossible_budget_is_named_with_its_line(pareto, budget):
    line = pareto(json.dumps({**GOOD, "budget": budget}).encode() + b"\n", "rows.jsonl, line 1")
    assert "a budget is a whole number of tokens (64)" in line


@pytest.mark.parametrize("text", bad.NOT_JSON.values(), ids=bad.NOT_JSON)
def test_a_line_that_is_no_object_is_named(pareto, text):
    pareto(LINE + text + b"\n" + LINE, "rows.jsonl, line 2")


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_a_file_without_whole_rows_is_named(pareto, name, content):
    pareto(content, "rows.jsonl", "('v', 'w')", "(v, w)", name=name)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_without_rows_is_named(refused, path):
    refused(["pareto", path, "--table", "table.md"], repr(path)[1:-1][:60] or "'.'")


@pytest.mark.parametrize(("flag", "value"), OUTPUTS)
def test_an_output_that_cannot_be_written_is_named(refused, flag, value):
    refused(["pareto", "good.jsonl", f"{flag}={value}"], flag, repr(value)[1:-1][:60] or "'.'")


@pytest.mark.parametrize("content", FLOPS.values(), ids=FLOPS)
def test_a_file_without_flops_is_named_with_what_writes_one(folder, refused, content):
    if content is not None:
        (folder / "flops.json").write_bytes(content)
    assert "`grip-vlm flops" in refused(
        ["pareto", "good.jsonl", "--report", "new", "--flops", "flops.json"], "flops.json"
    )


def test_a_key_that_stands_twice_is_refused(pareto):
    pareto(LINE[:-2] + b', "score": 0.0}\n', "rows.jsonl, line 1")


def test_a_report_has_nothing_to_compare_with_a_pruner_without_rows(refused):
    refused(["pareto", "good.jsonl", "--ours", "magic", "--report", "new"], "'magic'")


@pytest.mark.parametrize("outputs", [["--table", "table.md"], ["--out", "figure.png"]], ids=str)
def test_a_pruner_without_rows_has_nothing_to_be_compared_with(refused, outputs):
    refused(["pareto", "good.jsonl", "--ours", "magic", *outputs], "'magic'")
