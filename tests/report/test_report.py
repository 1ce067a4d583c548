"""The report says in words, tables, figures and a page what was measured, and says what was not."""

import json
import re

import pytest
from toolkit.rows import coins, rows, write

from grip_vlm import report
from grip_vlm.report import figures, tables, verdict
from grip_vlm.report.comparisons import Comparison, comparisons
from grip_vlm.report.interactive import page
from grip_vlm.report.measured import FLOPS, TOKENS
from grip_vlm.report.summaries import Estimate, curve_summaries
from grip_vlm.report.tables import Table

pytestmark = pytest.mark.slow


def shares(right, n=200):
    """Scores of which this share is right, spread evenly."""
    return {"one": [float(int((i + 1) * right) > int(i * right)) for i in range(n)]}


def curve(pruner, *right, **changes):
    """At 2, 10 and 50 % of 200 tokens."""
    budgets = (("0.02", 4), ("0.1", 20), ("0.5", 100))
    return [
        r for (b, k), share in zip(budgets, right, strict=True) for r in rows(pruner, shares(share), b, k, **changes)
    ]


FIELD = [
    *curve("grip", 0.7, 0.9, 0.9),
    *curve("near_it", 0.7, 0.89, 0.9),
    *curve("random", 0.3, 0.5, 0.8),
    *rows("full", shares(0.9), "1.0", 200, seconds=0.03),
    *rows("blind", shares(0.1), "0", 0),
]
COUNTED = {name: {"0.02": 2e9, "0.1": 3e9, "0.5": 5e9} for name in ("grip", "near_it")} | {"full": {"1.0": 9e9}}


@pytest.fixture(scope="module")
def measured():
    return report.measure(FIELD, COUNTED)


@pytest.fixture(scope="module")
def folder(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report.write_report(measured, folder)
    return folder


def test_the_verdict_says_who_is_beaten_by_how_much_and_where_nothing_was_found(measured):
    text = verdict.differences_by_budget(measured, comparisons(measured, "grip"), "grip")
    at_ten = next(block for block in text.split("\n\n") if block.startswith("**At 10 %**"))
    assert re.search(r"It beats random by 3\d\.\d to 4\d\.\d points\.", at_ten)
    assert re.search(r"No significant difference to near_it \(-\d\.\d to \+\d\.\d\)\.", at_ten)


def test_the_verdict_says_who_is_lost_to(measured):
    text = verdict.differences_by_budget(measured, comparisons(measured, "random"), "random")
    assert re.search(r"At 2 %\*\*.* It loses to grip by \d\d\.\d to \d\d\.\d and near_it by", text)


def test_the_verdict_says_who_is_on_the_frontier(measured):
    text = verdict.on_frontier(measured, TOKENS, "grip")
    assert text == "Frontier over visual tokens kept: grip is on it at 2 % and 10 %; near_it at 2 %.\n"
    assert "random is not on it; grip at 2 % and 10 %; near_it at 2 %." in verdict.on_frontier(
        measured, TOKENS, "random"
    )


def test_pruners_whose_flops_were_not_counted_are_named(measured):
    assert "Left out, because their cost is unknown: blind and random." in verdict.on_frontier(measured, FLOPS, "grip")


def test_equal_accuracy_costs_what_lies_between_the_points(measured):
    found = {one.pruner: one for one in curve_summaries(measured, TOKENS, "grip")}
    wanted, ours = 0.95 * 0.9, 2 * 5 ** ((0.95 * 0.9 - 0.7) / 0.2)
    assert found["full"].cost_ratio[0.95].value == pytest.approx(100 / ours)
    assert found["random"].cost_ratio[0.95].value == float("inf")
    assert wanted > 0.8
    text = verdict.at_equal_accuracy(list(found.values()), TOKENS, "grip")
    assert "Never reached by random." in text


def test_a_rival_at_the_same_accuracies_has_no_bjontegaard_difference():
    half = [*curve("grip", 0.3, 0.5, 0.9), *curve("dear", 0.3, 0.5, 0.9, seconds=0.02)]
    (dear,) = [s for s in curve_summaries(report.measure(half), TOKENS, "grip") if s.pruner == "dear"]
    assert (dear.bjontegaard.value, dear.bjontegaard.low, dear.bjontegaard.high) == pytest.approx((0.0, 0.0, 0.0))


@pytest.mark.slow
def test_the_area_needs_all_budgets(measured):
    single = report.measure([*FIELD, *rows("single", shares(0.8), "0.1", 20)])
    area = {one.pruner: tables.estimate_text(one.area, 100, ".1f") for one in curve_summaries(single, TOKENS, "grip")}
    assert area["single"] == "-"
    assert area["grip"] != "-"


def test_hypervolume_needs_full_and_blind():
    alone = report.measure(curve("grip", 0.7, 0.9, 0.9))
    (one,) = curve_summaries(alone, TOKENS, "grip")
    assert tables.estimate_text(one.hypervolume, 1, ".3f") == "-"


def test_latex_escapes_what_it_would_read_itself():
    text = tables.latex(Table(["a_b", "5 %"], [["x&y", "**91.2** ± 1.0†"], ["z", "∞"]]))
    assert r"a\_b & 5 \% \\" in text
    assert r"x\&y & \textbf{91.2} $\pm$ 1.0\rlap{$^\dagger$} \\" in text
    assert text.startswith("\\begin{tabular}{lr}\n\\toprule\n")
    assert r"z & $\infty$ \\" in text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(1.5, 1.2, float("inf")), "1.50 [1.20, ∞]"),
        (Estimate(float("nan"), 0, 0), "-"),
        (Estimate(2, float("nan"), float("nan")), "2.00"),
    ],
)
def test_an_estimate_says_never_and_unknown(found, text):
    assert tables.estimate_text(found, 1, ".2f") == text


def test_the_table_by_budget_marks_the_best_and_what_differs(measured):
    head, lines = tables.accuracy_by_budget(measured, comparisons(measured, "grip"))
    assert head == ["pruner", "2 %", "10 %", "50 %"]
    cells = {line[0]: line[1:] for line in lines}
    assert cells["grip"][1].startswith("**90.0** ± ")
    assert cells["random"][1].startswith("50.0 ± ")
    assert cells["random"][1].endswith("†")
    assert not cells["near_it"][1].endswith("†")


def test_the_verdict_does_not_call_certain_what_holm_does_not():
    assert not Comparison("x", "0.1", 0.02, 0.001, 0.04, p=0.2).significant


@pytest.mark.slow
def test_a_report_has_every_figure_table_and_page(folder):
    figures_ = {f"{name}.{ending}" for name in ("kept", "flops", "seconds", "tasks") for ending in ("png", "svg")}
    texts = {"report.md", "table.md", "accuracy.tex", "frontier.html"}
    texts |= {f"curves-{cost}.tex" for cost in ("kept", "flops", "seconds")}
    assert {path.name for path in folder.iterdir()} == figures_ | texts
    for name in re.findall(r"\]\((.+?)\)", (folder / "report.md").read_text()):
        assert (folder / name).is_file()


def test_a_figure_has_the_same_bytes_again(measured, folder, tmp_path):
    figures.accuracy_over_cost(measured, TOKENS, "grip", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (folder / "kept.svg").read_bytes()


def test_the_page_loads_nothing_and_holds_every_point(measured):
    text = page(measured, {}, "grip")
    assert set(re.findall(r"https?://[^\s\"')]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|script)[^>]*\b(src|href)=|@import|fetch\(", text)
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    accuracies = {(point["pruner"], point["budget"]): point["accuracy"] for point in data["points"]}
    assert accuracies["grip", "2 %"] == 70.0
    assert len(accuracies) == len(measured.points)


def test_a_name_cannot_end_the_pages_script():
    text = page(report.measure(rows("</script>", {"one": coins(1)})), {}, "grip")
    assert text.count("</script>") == 2


def test_names_keep_their_distance_their_order_and_the_picture():
    heights = figures.spread([50, 50.5, 51, 90, 10], gap=2, low=10, high=90)
    assert heights == pytest.approx([48.5, 50.5, 52.5, 90, 10])
    crowded = figures.spread([99, 98, 100], gap=5, low=0, high=100)
    assert crowded == pytest.approx([95, 90, 100])


def test_ours_must_have_been_measured(measured, tmp_path):
    with pytest.raises(ValueError, match="no rows of 'gripp' to compare; measured were grip, near_it, random"):
        report.write_report(measured, tmp_path, "gripp")


def test_a_computation_in_two_files_counts_once(tmp_path):
    some = rows("random", {"one": [1, 0]})
    one, two = write(tmp_path / "one.jsonl", some), write(tmp_path / "two.jsonl", some)
    assert report.read_rows([one, two]) == some


def test_a_computation_with_two_results_is_refused(tmp_path):
    one = write(tmp_path / "one.jsonl", rows("random", {"one": [1, 0]}))
    two = write(tmp_path / "two.jsonl", rows("random", {"one": [1, 1]}))
    with pytest.raises(ValueError, match=r"two\.jsonl has another result for v random .*one/test/1"):
        report.read_rows([one, two])


def test_rows_of_several_vlms_are_refused(tmp_path):
    one = write(tmp_path / "one.jsonl", rows("random", {"one": [1, 0]}))
    two = write(tmp_path / "two.jsonl", rows("random", {"one": [1, 0]}, vlm="w"))
    with pytest.raises(ValueError, match=r"rows of several VLMs \(v, w\) cannot share a table"):
        report.read_rows([one, two])


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "does not hold FLOPs"), ("", "does not hold FLOPs"), ('{"vlm": "w", "flops": {}}', "the FLOPs of w")],
)
def test_flops_must_be_counted_for_the_vlm_of_the_rows(tmp_path, text, message):
    path = write(tmp_path / "rows.jsonl", rows("random", {"one": [1]}))
    (tmp_path / "flops.json").write_text(text)
    with pytest.raises(ValueError, match=rf"{message}.*; `grip-vlm flops --vlm v --out .*` writes one"):
        report.write([path], tmp_path / "out.png", flops=tmp_path / "flops.json")


def test_something_must_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"give --out FIGURE\.png, --table TABLE\.md or --report FOLDER"):
        report.write([tmp_path / "rows.jsonl"])
