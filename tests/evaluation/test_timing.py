"""Rows of `bench` are read as they were written, and whatever is no such row is refused."""

import json
from dataclasses import asdict, replace

import pytest

from grip_vlm.evaluation import timing
from grip_vlm.evaluation.timing import PHASES, Timing

ROW = Timing(
    vlm="v",
    pruner="grip",
    checkpoint="",
    budget="0.1",
    batch=2,
    round=0,
    new_tokens=3,
    tokens=196.0,
    kept=20.0,
    **dict.fromkeys(PHASES, 0.5),
    kv_bytes=100,
    resting_bytes=None,
    peak_bytes=None,
    questions="q",
    device="cpu",
    machine="m",
    threads=1,
    precision="float32",
    attention="sdpa",
    commit="c",
    torch="2",
    transformers="5",
)


def test_an_answer_takes_the_sum_of_its_phases():
    assert ROW.seconds == 7 * 0.5


def test_rows_come_back_and_a_line_that_was_cut_off_is_removed(tmp_path):
    path, second = tmp_path / "rows.jsonl", replace(ROW, round=1)
    timing.append(path, ROW)
    timing.append(path, second)
    with path.open("a") as file:
        file.write(json.dumps(asdict(ROW))[:50])
    assert timing.repair(path) == [ROW, second]
    assert path.read_text().endswith('"transformers": "5"}\n')


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"tower": -0.1}, "tower must be at least 0, not -0.1"),
        ({"tower": "fast"}, "tower must be a number, not a text ('fast')"),
        ({"speed": 3}, "the field 'speed' is unknown"),
        (dict.fromkeys(PHASES, 0.0), "an answer cannot take no time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_impossible_row_is_refused_with_its_line(tmp_path, values, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**asdict(ROW), **values}) + "\n")
    with pytest.raises(ValueError, match=r"rows.jsonl, line 1 is not a row of `bench`") as error:
        timing.read(path)
    assert str(error.value).endswith(message)


def test_rows_of_two_machines_are_not_put_together(tmp_path):
    for name, row in (("a", ROW), ("b", replace(ROW, machine="other", round=1))):
        timing.append(tmp_path / name, row)
    with pytest.raises(ValueError, match=r"times of another machine \(m and other\)"):
        timing.read_timings([tmp_path / "a", tmp_path / "b"])


def test_one_run_does_not_count_twice(tmp_path):
    timing.append(tmp_path / "a", ROW)
    with pytest.raises(ValueError, match=r"times grip  0\.1 2 0 again"):
        timing.read_timings([tmp_path / "a", tmp_path / "a"])


def test_rows_are_not_added_to_a_compressed_file(tmp_path):
    with pytest.raises(ValueError, match="compressed"):
        timing.repair(tmp_path / "rows.jsonl.gz")


def test_rows_that_are_missing_are_named_with_what_writes_them(tmp_path):
    with pytest.raises(ValueError, match="grip-vlm bench --out"):
        timing.read_timings([tmp_path / "none.jsonl"])
