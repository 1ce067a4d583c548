"""Points and curves that equal others are reported and drawn, whatever their names."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from toolkit.rows import rows

from grip_vlm import report
from grip_vlm.report import figures, verdict
from grip_vlm.report.coinciding import same_as
from grip_vlm.report.curves import frontier, undominated
from grip_vlm.report.interactive import page
from grip_vlm.report.measured import TOKENS


def curve(pruner, *right):
    """Correct answers of 10 at 2, 10 and 50 % of 200 tokens."""
    budgets = (("0.02", 4), ("0.1", 20), ("0.5", 100))
    return [
        row
        for (budget, kept), n in zip(budgets, right, strict=True)
        for row in rows(pruner, {"one": [1.0] * n + [0.0] * (10 - n)}, budget, kept)
    ]


@pytest.fixture(scope="module")
def measured():
    return report.measure([*curve("zeta", 5, 7, 9), *curve("alpha", 5, 7, 9), *curve("worse", 4, 7, 8)])


@pytest.mark.parametrize("ours", ["alpha", "zeta"])
def test_equal_points_are_on_the_frontier_together(measured, ours):
    other = {"alpha": "zeta", "zeta": "alpha"}[ours]
    assert verdict.on_frontier(measured, TOKENS, ours) == (
        f"Frontier over visual tokens kept: {ours} is on it at 2 %, 10 % and 50 %; {other} at 2 %, 10 % and 50 %; "
        "worse at 10 %.\n"
    )


def test_a_frontier_has_all_equal_points_and_none_that_is_dominated():
    cost, accuracy = [1, 1, 2, 2, 3, 3], [0.5, 0.5, 0.5, 0.7, 0.7, 0.9]
    assert undominated(cost, accuracy).tolist() == [0, 1, 3, 5]
    assert len(frontier(cost, accuracy)) == 3


def test_a_difference_by_summation_errors_is_none():
    assert undominated([1, 1], [0.1 + 0.2, 0.3]).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_a_point_is_on_the_frontier_if_and_only_if_no_other_dominates_it(seed):
    cost, accuracy = np.random.default_rng(seed).integers(0, 4, (2, 12)).astype(float)
    dominated = [
        any(
            cost[j] <= cost[i] and accuracy[j] >= accuracy[i] and (cost[j] < cost[i] or accuracy[j] > accuracy[i])
            for j in range(12)
        )
        for i in range(12)
    ]
    assert sorted(undominated(cost, accuracy)) == [i for i in range(12) if not dominated[i]]


def test_curves_that_coincide_are_found(measured):
    assert same_as(measured, ["zeta", "alpha", "worse"]) == {"alpha": "zeta"}
    assert same_as(measured, ["worse", "alpha", "zeta"], benchmark="one") == {"zeta": "alpha"}


def test_a_curve_that_coincides_with_another_is_drawn_over_it_in_dashes_and_named(measured, tmp_path):
    figures.accuracy_over_cost(measured, TOKENS, "zeta", tmp_path / "kept.svg")
    assert "<!-- alpha = zeta -->" in (tmp_path / "kept.svg").read_text()
    options = figures.styles(measured, "zeta")
    above = figures.over(options["alpha"], options["zeta"])
    assert above["zorder"] > options["zeta"]["zorder"]
    (line,) = Figure().add_subplot().plot([1], [1], **above)
    assert line.get_linestyle() == "--"


def test_the_page_names_curves_that_coincide(measured):
    text = page(measured, {}, "zeta")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert {style["name"]: style["same"] for style in data["styles"]} == {"zeta": "", "alpha": "zeta", "worse": ""}
