"""Timed answers become medians with their spread, a table, bars, and the time at equal accuracy."""

import math

import pytest

from grip_vlm.evaluation.timing import PHASES, Timing
from grip_vlm.report import bars, equal_accuracy, timings
from grip_vlm.report.measured import Point


def row(pruner, budget, round_, prefill, batch=1, **values):
    phases = dict.fromkeys(PHASES, 0.0) | {"prefill": prefill}
    known = {"vlm": "v", "checkpoint": "", "new_tokens": 5, "tokens": 200.0, "kept": 20.0, "kv_bytes": 4000}
    known |= {"resting_bytes": 10_000_000, "peak_bytes": 12_000_000, "questions": "q", "device": "cpu", "machine": "m"}
    known |= {"threads": 1, "precision": "float32", "attention": "sdpa", "commit": "", "torch": "", "transformers": ""}
    return Timing(**{**known, **phases, **values}, pruner=pruner, budget=budget, batch=batch, round=round_)


def rounds(pruner, budget, *seconds, **values):
    return [row(pruner, budget, i, time, **values) for i, time in enumerate(seconds)]


def test_times_are_medians_per_question_with_their_percentiles():
    (entry,) = timings.timed(rounds("grip", "0.1", *(0.002 * i for i in range(1, 12)), batch=2))
    assert (entry.total, entry.low, entry.high) == pytest.approx((6, 2, 10))  # of 1, 2 .. 11 ms
    assert entry.phases["prefill"] == pytest.approx(6)
    assert (entry.kept, entry.kv_bytes, entry.rounds) == (0.1, 2000, 11)


def test_a_decoded_token_is_a_step_of_the_whole_batch():
    (entry,) = timings.timed(rounds("grip", "0.1", 1.0, batch=2, decode=0.4))
    assert entry.per_token == pytest.approx(100)  # four steps after the token of the prefill
    (entry,) = timings.timed(rounds("grip", "0.1", 1.0, new_tokens=1))
    assert math.isnan(entry.per_token)


def test_the_table_compares_with_full_of_the_same_batch_size():
    rows = rounds("full", "1.0", 0.04, kept=200.0) + rounds("grip", "0.1", 0.01)
    rows += rounds("full", "1.0", 0.32, batch=16, kept=200.0) + rounds("grip", "0.1", 0.04, batch=16)
    lines = timings.markdown(timings.timed(rows)).splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [line[:6] for line in cells] == [
        ["1", "full", "1.0", "100.0 %", "40.00 [40.00, 40.00]", "1.00"],
        ["1", "grip", "0.1", "10.0 %", "10.00 [10.00, 10.00]", "4.00"],
        ["16", "full", "1.0", "100.0 %", "20.00 [20.00, 20.00]", "1.00"],
        ["16", "grip", "0.1", "10.0 %", "2.50 [2.50, 2.50]", "8.00"],
    ]
    assert cells[1][6:] == ["-", "-", "-", "-", "-", "10.00", "0.00", "4.0", "12 [+2.0]"]


def test_memory_that_is_unknown_is_a_dash():
    text = timings.markdown(timings.timed(rounds("grip", "0.1", 1.0, resting_bytes=None, peak_bytes=None)))
    assert text.endswith("| - |\n")


def point(pruner, budget, accuracy):
    return Point(pruner, budget, 0.1, accuracy, 0, 1, {}, math.nan)


def test_time_at_equal_accuracy_is_interpolated_between_the_budgets_and_never_extrapolated():
    points = [point("full", "1.0", 1.0), point("grip", "2", 0.9), point("grip", "4", 1.0)]
    points += [point("random", "2", 0.5), point("random", "4", 0.7), point("untimed", "2", 1.0)]
    rows = rounds("full", "1.0", 0.04) + rounds("grip", "2", 0.01) + rounds("grip", "4", 0.04)
    rows += rounds("random", "2", 0.01) + rounds("random", "4", 0.02)
    reached = equal_accuracy.milliseconds(points, timings.timed(rows), 0.95)
    assert reached == {"full": pytest.approx(40), "grip": pytest.approx(20), "random": math.inf}
    lines = equal_accuracy.markdown(points, timings.timed(rows), "grip").splitlines()
    assert lines[2:5] == [
        "| 1 | 95 % of full | grip | 20.00 | 1.00 |",
        "| 1 | 95 % of full | full | 40.00 | 2.00 |",
        "| 1 | 95 % of full | random | never | - |",
    ]


def test_time_at_equal_accuracy_needs_the_accuracy_of_full():
    with pytest.raises(ValueError, match="rows of `full`"):
        equal_accuracy.markdown([point("grip", "2", 0.9)], timings.timed(rounds("grip", "2", 0.01)), "grip")


def test_bars_name_every_pruner_budget_and_phase(tmp_path):
    rows = rounds("full", "1.0", 0.04, 0.05) + rounds("grip", "0.1", 0.01, 0.02) + rounds("grip", "0.1", 0.2, batch=16)
    bars.stacked_bars(timings.timed(rows), "tiny", tmp_path / "bars.svg")
    text = (tmp_path / "bars.svg").read_text()
    assert all(f"<!-- {word} -->" in text for word in ("full", "grip 0.1", "batch 1", "batch 16", *PHASES))


def test_no_times_are_no_figure(tmp_path):
    with pytest.raises(ValueError, match="no times"):
        bars.stacked_bars([], "tiny", tmp_path / "bars.svg")
