"""Rows become means, paired intervals, a frontier, a figure and a table."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from grip_vlm import pareto
from grip_vlm.rows import Row
from grip_vlm.pareto import Point


def rows(pruner, scores, budget="0.1", kept=20, seed=0, first=0, **changes):
    """One row per score; `scores` is benchmark -> scores of its items."""
    common = {"vlm": "v", "pruner": pruner, "checkpoint": "", "budget": budget, "tokens": 200, "kept": kept}
    common |= {"prediction": "a", "target": "b", "seconds": 0.01, "seed": seed, "commit": "c", "torch": "t"}
    common |= {"transformers": "h", "device": "cpu", **changes}
    return [
        Row(benchmark=name, item=f"{name}/test/{i}", score=score, **common)
        for name, values in scores.items()
        for i, score in enumerate(values, start=first)
    ]


def write(path, some):
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in some))
    return path


def coins(seed, n=40):
    return np.random.default_rng(seed).integers(0, 2, n).astype(float).tolist()


def scores(**by_benchmark):
    return {name: np.array(values, dtype=float) for name, values in by_benchmark.items()}


SOME = [
    *rows("grip", {"one": coins(1), "two": coins(2, 10)}),
    *rows("random", {"one": coins(3), "two": coins(4, 10)}),
    *rows("grip", {"one": coins(5), "two": coins(6, 10)}, budget="0.5", kept=100),
    *rows("full", {"one": [1.0] * 40, "two": coins(7, 10)}, budget="1.0", kept=200),
    *rows("blind", {"one": coins(8), "two": [0.0] * 10}, budget="0", kept=0),
]


def test_every_benchmark_counts_the_same_however_many_items_it_has():
    (point,) = pareto.points(rows("grip", {"one": [1, 0, 0, 0], "two": [1, 1]}))
    assert point.accuracy == 0.625
    assert point.by_benchmark == {"one": 0.25, "two": 1.0}


def test_seeds_are_averaged_within_an_item():
    some = rows("random", {"one": [1, 0]}) + rows("random", {"one": [1, 1]}, seed=1)
    assert pareto.scores_of(some)["random", "0.1"]["one"].tolist() == [1.0, 0.5]
    assert [point.accuracy for point in pareto.points(some)] == [0.75]


def test_the_order_of_rows_does_not_matter():
    assert pareto.points(SOME[::-1]) == pareto.points(SOME)


def test_a_point_has_the_share_kept_and_the_median_time():
    some = rows("grip", {"one": [1]}, seconds=0.1) + rows("grip", {"two": [1, 1]}, seconds=0.3)
    (point,) = pareto.points(some)
    assert (point.kept, point.seconds) == pytest.approx((0.1, 0.3))


def test_there_is_one_point_per_pruner_and_budget():
    found = [(point.pruner, point.budget) for point in pareto.points(SOME)]
    assert found == [("blind", "0"), ("full", "1.0"), ("grip", "0.1"), ("grip", "0.5"), ("random", "0.1")]


def test_the_interval_contains_the_mean_and_has_a_width():
    for point in pareto.points(SOME):
        assert point.low < point.accuracy < point.high


def test_the_interval_is_about_two_standard_errors_on_each_side():
    values = np.array([0.0, 1.0] * 200)
    low, high = np.percentile(pareto.bootstrap({"one": values}, np.random.default_rng(0)), [2.5, 97.5])
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)


def test_items_that_all_score_the_same_have_no_interval():
    (point,) = pareto.points(rows("full", {"one": [1.0] * 5, "two": [0.0] * 3}))
    assert (point.low, point.accuracy, point.high) == (0.5, 0.5, 0.5)


def test_intervals_are_the_same_again():
    assert pareto.points(SOME) == pareto.points(SOME)


def test_a_paired_difference_of_identical_scores_is_exactly_zero():
    mine = scores(one=coins(1), two=coins(2))
    assert pareto.paired_difference(mine, mine) == (0.0, 0.0, 0.0)


def test_a_paired_difference_of_a_constant_shift_is_the_shift():
    mine = scores(one=coins(1), two=coins(2, 10))
    shifted = {name: values + 0.25 for name, values in mine.items()}
    assert pareto.paired_difference(shifted, mine) == (0.25, 0.25, 0.25)


def test_a_paired_difference_changes_sign_with_its_sides():
    ours, theirs = scores(one=coins(1)), scores(one=coins(2))
    mean, low, high = pareto.paired_difference(ours, theirs)
    assert pareto.paired_difference(theirs, ours) == pytest.approx((-mean, -high, -low))
    assert low < mean < high


def test_pairing_makes_the_interval_of_a_difference_narrower():
    ours = scores(one=coins(1, 100))
    theirs = {"one": ours["one"].copy()}
    theirs["one"][:5] = 1 - theirs["one"][:5]
    _, low, high = pareto.paired_difference(ours, theirs)
    _, alone_low, alone_high = pareto.paired_difference(ours, scores(one=[0.0] * 100))
    assert high - low < 0.6 * (alone_high - alone_low)


@pytest.mark.parametrize("theirs", [{"one": [1, 0]}, {"two": [1, 0, 1]}, {"one": [1, 0, 1], "two": [1]}])
def test_a_paired_difference_needs_as_many_items_on_both_sides(theirs):
    with pytest.raises(ValueError, match="needs the same items"):
        pareto.paired_difference(scores(one=[1, 0, 1]), scores(**theirs))


def test_a_paired_difference_needs_the_same_items_on_both_sides():
    with pytest.raises(ValueError, match="needs the same items"):
        pareto.table(rows("grip", {"one": [1, 0, 1]}) + rows("random", {"one": [1, 0, 1]}, first=3))


def test_the_frontier_has_what_nothing_cheaper_or_as_cheap_beats():
    def point(pruner, kept, accuracy):
        return Point(pruner, "", kept, accuracy, 0.0, 1.0, {}, 0.0)

    cheap, better, full = point("a", 0.1, 0.5), point("b", 0.2, 0.6), point("full", 1.0, 0.7)
    beaten = [point("c", 0.1, 0.4), point("d", 0.15, 0.5), point("e", 0.2, 0.55), point("f", 0.9, 0.6)]
    assert pareto.frontier([full, *beaten, better, cheap]) == [cheap, better, full]


def test_the_table_has_a_line_per_pruner_and_budget():
    lines = pareto.table(SOME).splitlines()
    found = [tuple(line.removeprefix("| ").split(" | ")[:2]) for line in lines[2:]]
    assert sorted(found) == [("blind", "0"), ("full", "1.0"), ("grip", "0.1"), ("grip", "0.5"), ("random", "0.1")]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_the_table_gives_grips_paired_difference_to_the_others():
    text = pareto.table(rows("grip", {"one": [1, 1, 1]}) + rows("random", {"one": [0, 0, 0]}))
    (line,) = [line for line in text.splitlines() if line.startswith("| random")]
    assert "+100.0 [+100.0, +100.0]" in line


def test_the_table_gives_the_share_of_full():
    text = pareto.table(
        rows("full", {"one": [1, 1, 1, 0]}, budget="1.0", kept=200) + rows("uniform", {"one": [1, 1, 0, 0]})
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| uniform")]
    assert "66.7 %" in line


def test_a_full_that_gets_nothing_right_still_has_a_table():
    text = pareto.table(rows("full", {"one": [0, 0]}, budget="1.0", kept=200) + rows("random", {"one": [0, 1]}))
    assert "| random | 0.1 |" in text


@pytest.mark.parametrize(
    ("name", "magic"), [("figure.png", b"\x89PNG"), ("figure.svg", b"<?xml"), ("figure", b"\x89PNG")]
)
def test_figure_and_table_are_written(tmp_path, name, magic):
    path = write(tmp_path / "rows.jsonl", SOME)
    text = pareto.write([path], tmp_path / "out" / name, tmp_path / "out" / "table.md")
    assert (tmp_path / "out" / name).read_bytes().startswith(magic)
    assert (tmp_path / "out" / "table.md").read_text() == text == pareto.table(SOME)
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == sorted([name, "table.md"])


def test_a_figure_of_full_and_blind_alone_is_drawn(tmp_path):
    pareto.figure([row for row in SOME if row.pruner in ("full", "blind")], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_rows_of_several_files_are_put_together(tmp_path):
    one, two = write(tmp_path / "one.jsonl", SOME[:5]), write(tmp_path / "two.jsonl", SOME[5:])
    assert pareto.read_rows([one, two]) == SOME


def test_missing_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no rows at '.*rows\.jsonl'; `grip-vlm evaluate --out .*` makes them"):
        pareto.read_rows([tmp_path / "rows.jsonl"])


def test_empty_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there are no rows in .*rows\.jsonl"):
        pareto.read_rows([write(tmp_path / "rows.jsonl", [])])


def test_a_bad_line_is_named(tmp_path):
    path = write(tmp_path / "rows.jsonl", SOME[:2])
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3 is not a row"):
        pareto.read_rows([path])


def test_reading_rows_does_not_change_the_file(tmp_path):
    path = write(tmp_path / "rows.jsonl", SOME[:2])
    half = path.read_bytes()[:-30]
    path.write_bytes(half)
    assert pareto.read_rows([path]) == SOME[:1]
    assert path.read_bytes() == half
