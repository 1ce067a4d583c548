"""A benchmark's own metrics stand in a table of their own, averaged over runs, never over what is not there."""

import pytest

from grip_vlm.evaluation.evaluate import Row
from grip_vlm.report import metrics


def row(prediction, target, *, seed=0, benchmark="pope", pruner="random", group="popular"):
    known = {"vlm": "v", "checkpoint": "", "budget": "0.1", "tokens": 9, "kept": 1, "seconds": 0.1, "commit": ""}
    score = float(prediction == target)
    item = {"item": f"{target}/{group}", "prediction": prediction, "target": target, "score": score, "group": group}
    return Row(**known, **item, benchmark=benchmark, pruner=pruner, seed=seed, torch="", transformers="", device="")


RIGHT = [row("yes", "yes"), row("no", "no")]
NEVER = [row("no", "yes", seed=1), row("no", "no", seed=1)]  # says no to all; pooled with RIGHT, an F1 of two thirds


def test_metrics_are_averaged_over_seeds():
    found = metrics.benchmark_metrics(RIGHT + NEVER, "pope")
    assert found["random", "0.1"]["F1"] == pytest.approx(50)
    assert found["random", "0.1"]["accuracy"] == pytest.approx(75)


def test_metrics_of_two_pruners_are_kept_apart():
    rows = [*RIGHT, row("no", "yes", pruner="grip"), row("yes", "no", pruner="grip")]
    found = metrics.benchmark_metrics(rows, "pope")
    assert (found["random", "0.1"]["F1"], found["grip", "0.1"]["F1"]) == (100, 0)


def test_a_table_has_a_line_per_pruner_and_a_dash_for_what_the_rows_do_not_allow():
    text = metrics.markdown(RIGHT)
    assert "| pope | budget | accuracy | precision | recall | F1 | F1, mean of sets | yes |" in text
    assert "| random | 0.1 | 100.0 | 100.0 | 100.0 | 100.0 | - | 50.0 |" in text


@pytest.mark.parametrize("benchmark", ["reading", "gqa", "mine.jsonl"])
def test_benchmarks_whose_metric_is_the_mean_have_no_table(benchmark):
    assert metrics.markdown([row("yes", "yes", benchmark=benchmark)]) == ""
