"""Rows become means, paired intervals, a frontier, a figure and a table."""

from dataclasses import replace

import pytest
from toolkit.rows import coins, rows, write

from grip_vlm import report
from grip_vlm.report import figures
from grip_vlm.report.comparisons import comparisons
from grip_vlm.report.measured import TOKENS

SOME = [
    *rows("grip", {"one": coins(1), "two": coins(2, 10)}),
    *rows("random", {"one": coins(3), "two": coins(4, 10)}),
    *rows("grip", {"one": coins(5), "two": coins(6, 10)}, budget="0.5", kept=100),
    *rows("full", {"one": [1.0] * 40, "two": coins(7, 10)}, budget="1.0", kept=200),
    *rows("blind", {"one": coins(8), "two": [0.0] * 10}, budget="0", kept=0),
]


def test_every_benchmark_counts_the_same_however_many_items_it_has():
    (point,) = report.points(rows("grip", {"one": [1, 0, 0, 0], "two": [1, 1]}))
    assert point.accuracy == 0.625
    assert point.by_benchmark == {"one": 0.25, "two": 1.0}


def test_seeds_are_averaged_within_an_item():
    some = rows("random", {"one": [1, 0]}) + rows("random", {"one": [1, 1]}, seed=1)
    assert [(point.accuracy, point.seeds) for point in report.points(some)] == [(0.75, 2)]


def test_the_order_of_rows_does_not_matter():
    assert report.points(SOME[::-1]) == report.points(SOME)


def test_methods_with_more_seeds_keep_the_same_share():
    one = rows("one", {"a": [1.0] * 300}, kept=10, tokens=196)
    three = [row for seed in range(3) for row in rows("three", {"a": [1.0] * 300}, kept=10, tokens=196, seed=seed)]
    kept = {point.kept for point in report.points(one + three)}
    assert len(kept) == 1


def test_a_point_has_the_share_kept_and_the_median_time():
    some = rows("grip", {"one": [1]}, seconds=0.1) + rows("grip", {"two": [1, 1]}, seconds=0.3)
    (point,) = report.points(some)
    assert (point.kept, point.seconds) == pytest.approx((0.1, 0.3))


def test_there_is_one_point_per_pruner_and_budget():
    found = [(point.pruner, point.budget) for point in report.points(SOME)]
    assert found == [("blind", "0"), ("full", "1.0"), ("grip", "0.1"), ("grip", "0.5"), ("random", "0.1")]


def test_questions_on_one_image_are_not_independent():
    scores = coins(1, 20)
    own = rows("grip", {"one": [score for score in scores for _ in range(2)]})
    shared = [replace(row, image_id=f"{i // 2}.png") for i, row in enumerate(own)]
    half = rows("grip", {"one": scores})
    width = [point.high - point.low for some in (own, shared, half) for point in report.points(some)]
    assert width[1] == pytest.approx(width[2], abs=0.02)
    assert width[1] > 1.3 * width[0]


def test_the_interval_contains_the_mean_and_has_a_width():
    for point in report.points(SOME):
        assert point.low < point.accuracy < point.high


def test_items_that_all_score_the_same_have_no_interval():
    (point,) = report.points(rows("full", {"one": [1.0] * 5, "two": [0.0] * 3}))
    assert (point.low, point.accuracy, point.high) == (0.5, 0.5, 0.5)


def test_intervals_are_the_same_again():
    assert report.points(SOME) == report.points(SOME)


def compared(*some, ours="grip"):
    return comparisons(report.measure([row for part in some for row in part]), ours)


def test_a_difference_of_identical_scores_is_exactly_zero():
    mine = {"one": coins(1), "two": coins(2, 10)}
    (found,) = compared(rows("grip", mine), rows("random", mine)).values()
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_of_a_constant_shift_is_the_shift():
    mine = {"one": coins(1), "two": coins(2, 10)}
    shifted = {name: [value + 0.25 for value in values] for name, values in mine.items()}
    (found,) = compared(rows("grip", shifted), rows("random", mine)).values()
    assert (found.difference, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found.significant


def test_a_difference_changes_sign_with_its_sides():
    some = rows("grip", {"one": coins(1)}), rows("random", {"one": coins(2)})
    (there,), (back,) = compared(*some).values(), compared(*some, ours="random").values()
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low), abs=0.03
    )
    assert there.low < there.difference < there.high


def test_pairing_makes_the_interval_of_a_difference_narrower():
    mine = coins(1, 100)
    alike = [1 - value for value in mine[:5]] + mine[5:]
    found = compared(rows("grip", {"one": mine}), rows("alike", {"one": alike}), rows("zero", {"one": [0.0] * 100}))
    alike, zero = found["alike", "0.1"], found["zero", "0.1"]
    assert alike.high - alike.low < 0.6 * (zero.high - zero.low)


def test_training_seeds_that_differ_make_an_interval_wider():
    """Two seeds that are right on all items and on none: half of the resamples hold one of them alone."""
    right, wrong = rows("grip", {"one": [1] * 20}, checkpoint="a"), rows("grip", {"one": [0] * 20}, checkpoint="b")
    (point,) = report.points(right + wrong)
    assert (point.low, point.accuracy, point.high) == (0.0, 0.5, 1.0)


def test_the_seed_of_an_evaluation_is_not_a_training_seed():
    some = rows("grip", {"one": [1]}, checkpoint="a") + rows("grip", {"one": [0]}, checkpoint="a", seed=1)
    (point,) = report.points(some)
    assert (point.seeds, point.low, point.accuracy, point.high) == (1, 0.5, 0.5, 0.5)


def test_a_training_seed_is_drawn_for_all_budgets_of_a_pruner_together():
    some = [
        row
        for budget in ("0.1", "0.5")
        for run, score in (("a", 1), ("b", 0))
        for row in rows("grip", {"one": [score]}, budget, checkpoint=run)
    ]
    resamples = report.measure(some).resamples
    assert (resamples[:, 0] == resamples[:, 1]).all()


def test_more_comparisons_make_each_less_certain():
    mine, theirs = rows("grip", {"one": coins(1)}), rows("random", {"one": coins(2)})
    alone = compared(mine, theirs)["random", "0.1"].p
    others = [rows(f"other{i}", {"one": coins(1)}) for i in range(2)]
    assert compared(mine, theirs, *others)["random", "0.1"].p == pytest.approx(min(1, 3 * alone))


@pytest.mark.parametrize(
    "theirs", [{"one": [1, 0]}, {"two": [1, 0, 1]}, {"one": [1, 0, 1], "two": [1]}], ids=["fewer", "other", "more"]
)
def test_all_must_be_measured_on_the_same_items(theirs):
    with pytest.raises(ValueError, match=r"needs the same items for all, and .* lacks . of . items of (one|two)"):
        report.table(rows("grip", {"one": [1, 0, 1]}) + rows("random", theirs))


def test_items_of_other_names_are_other_items():
    with pytest.raises(ValueError, match="needs the same items"):
        report.table(rows("grip", {"one": [1, 0, 1]}) + rows("random", {"one": [1, 0, 1]}, first=3))


def test_the_table_has_a_line_per_pruner_and_budget():
    lines = report.table(SOME).splitlines()
    found = [tuple(line.removeprefix("| ").split(" | ")[:2]) for line in lines[2:]]
    assert sorted(found) == [("blind", "0"), ("full", "1.0"), ("grip", "0.1"), ("grip", "0.5"), ("random", "0.1")]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_the_table_gives_grips_paired_difference_to_the_others():
    text = report.table(rows("grip", {"one": [1, 1, 1]}) + rows("random", {"one": [0, 0, 0]}))
    (line,) = [line for line in text.splitlines() if line.startswith("| random")]
    assert "+100.0 [+100.0, +100.0]" in line


def test_the_table_gives_the_share_of_full():
    text = report.table(
        rows("full", {"one": [1, 1, 1, 0]}, budget="1.0", kept=200) + rows("uniform", {"one": [1, 1, 0, 0]})
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| uniform")]
    assert "66.7 %" in line


def test_a_full_that_gets_nothing_right_still_has_a_table():
    text = report.table(rows("full", {"one": [0, 0]}, budget="1.0", kept=200) + rows("random", {"one": [0, 1]}))
    assert "| random | 0.1 |" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "magic"), [("figure.png", b"\x89PNG"), ("figure.svg", b"<?xml"), ("figure", b"\x89PNG")]
)
def test_figure_and_table_are_written(tmp_path, name, magic):
    path = write(tmp_path / "rows.jsonl", SOME)
    text = report.write([path], tmp_path / "out" / name, tmp_path / "out" / "table.md")
    assert (tmp_path / "out" / name).read_bytes().startswith(magic)
    assert (tmp_path / "out" / "table.md").read_text() == text == report.table(SOME)
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == sorted([name, "table.md"])


def test_a_figure_of_full_and_blind_alone_is_drawn(tmp_path):
    measured = report.measure([row for row in SOME if row.pruner in ("full", "blind")])
    figures.accuracy_over_cost(measured, TOKENS, "grip", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_rows_of_several_files_are_put_together(tmp_path):
    one, two = write(tmp_path / "one.jsonl", SOME[:5]), write(tmp_path / "two.jsonl", SOME[5:])
    assert report.read_rows([one, two]) == SOME


def test_missing_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no rows at '.*rows\.jsonl'; `grip-vlm evaluate --out .*` writes them"):
        report.read_rows([tmp_path / "rows.jsonl"])


def test_empty_rows_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there are no rows in .*rows\.jsonl"):
        report.read_rows([write(tmp_path / "rows.jsonl", [])])


def test_a_bad_line_is_named(tmp_path):
    path = write(tmp_path / "rows.jsonl", SOME[:2])
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3 is not a row"):
        report.read_rows([path])


def test_reading_rows_does_not_change_the_file(tmp_path):
    path = write(tmp_path / "rows.jsonl", SOME[:2])
    half = path.read_bytes()[:-30]
    path.write_bytes(half)
    assert report.read_rows([path]) == SOME[:1]
    assert path.read_bytes() == half
