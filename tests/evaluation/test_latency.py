"""Every job is timed with its share of all that it needs, and FLOPs are counted on the real modules."""

from types import SimpleNamespace

import pytest
import torch

from grip_vlm import pruners
from grip_vlm.budget import Budget
from grip_vlm.evaluation import evaluate, latency
from grip_vlm.evaluation.cost import answer_flops, count, llava_cost
from grip_vlm.evaluation.latency import measure
from grip_vlm.pruners.methods import random
from grip_vlm.scorer import Scorer, ScorerConfig


def test_every_job_is_timed_at_every_batch(vlm, examples):
    jobs = [(name, pruners.load(name), Budget.parse(0.1)) for name in ("full", "random")]
    timings = measure(vlm, jobs, examples, batch=2, rounds=2)
    assert [(t.pruner, t.batch) for t in timings] == [("full", 2), ("random", 2)]
    assert all(0 < t.low <= t.seconds <= t.high for t in timings)


@pytest.fixture
def clock(vlm, monkeypatch):
    """[seconds], which pass in the processor (1000), in the tower (8), at the device (1) and where a test says."""
    now = [0.0]

    def lasts(name, seconds):
        call = getattr(type(vlm), name)

        def timed(*given, **named):
            now[0] += seconds
            return call(*given, **named)

        monkeypatch.setattr(type(vlm), name, timed)

    for name, seconds in {"inputs": 1000, "encode": 8, "synchronize": 1}.items():
        lasts(name, seconds)
    for module in (evaluate, latency):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


class Slow(random.Pruner):
    """Takes `seconds` for its first batch and as many more for each after it; `ran` remembers whose turn it was."""

    def __init__(self, clock, seconds, ran):
        super().__init__()
        self.clock, self.seconds, self.ran = clock, seconds, ran

    def respond(self, *given, **named):
        self.ran.append(self)
        self.clock[0] += self.seconds * self.ran.count(self)
        return super().respond(*given, **named)


def test_a_timing_is_tower_pruner_and_answer_per_question_over_all_rounds_but_the_first(vlm, examples, clock):
    jobs = [(name, Slow(clock, seconds, []), Budget(tokens=1)) for name, seconds in (("one", 2), ("two", 4))]
    one, two = measure(vlm, jobs, examples, batch=2, rounds=11, new_tokens=1)
    # Of rounds 2 to 12 the median is the 7th; a tenth of them lies below the 3rd and above the 11th.
    assert [one.low, one.seconds, one.high] == [(8 + 1 + 2 * r) / 2 for r in (3, 7, 11)]
    assert [two.low, two.seconds, two.high] == [(8 + 1 + 4 * r) / 2 for r in (3, 7, 11)]


def test_no_job_always_runs_behind_the_same_one(vlm, examples, clock):
    ran = []
    jobs = [(name, Slow(clock, 1, ran), Budget(tokens=1)) for name in "abc"]
    measure(vlm, jobs, examples, batch=1, rounds=3, new_tokens=1)
    a, b, c = (pruner for _, pruner, _ in jobs)
    assert ran == [a, b, c, b, c, a, c, a, b, a, b, c]


def test_a_rows_seconds_are_tower_pruner_and_answer_divided_by_the_batch(vlm, tmp_path, clock):
    slow = {name: Slow(clock, seconds, []) for name, seconds in (("one", 2), ("two", 4))}
    rows = evaluate.evaluate(
        vlm, slow, ["presence"], [Budget(tokens=1)], tmp_path / "rows.jsonl", split="dev", limit=3, batch=2
    )
    tower = 1000 + 8 + 1
    expected = {"one": [(tower + 2 + 1) / 2] * 2 + [tower + 4 + 1], "two": [(tower + 4 + 1) / 2] * 2 + [tower + 8 + 1]}
    assert {name: [row.seconds for row in rows if row.pruner == name] for name in slow} == expected


def test_the_cost_of_the_language_model_is_at_least_two_thirds_of_a_full_forward(vlm):
    vlm.model.set_attn_implementation("eager")
    try:
        cost = llava_cost(vlm.model, Scorer(ScorerConfig(dim=vlm.dim)))
    finally:
        vlm.model.set_attn_implementation("sdpa")
    assert cost.language_share >= 2 / 3
    assert cost.scorer_share <= 0.05


def test_a_matrix_product_costs_two_flops_per_multiplication():
    assert count(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


def test_an_answer_costs_more_flops_with_more_tokens_and_the_full_one_most(vlm, examples):
    chosen = {name: pruners.load(name) for name in ("full", "random", "blind")}
    vlm.model.set_attn_implementation("eager")
    try:
        found = answer_flops(vlm, chosen, [Budget.parse("0.1"), Budget.parse("0.5")], examples[:2])
        tower = count(lambda: vlm.encode(vlm.inputs([examples[0].image], [examples[0].question])))
    finally:
        vlm.model.set_attn_implementation("sdpa")
    assert {name: list(of) for name, of in found.items()} == {
        "full": ["1.0"],
        "random": ["0.1", "0.5"],
        "blind": ["0"],
    }
    assert tower < found["blind"]["0"] < found["random"]["0.1"] < found["random"]["0.5"] < found["full"]["1.0"]
