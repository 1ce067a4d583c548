"""Every job is timed, and FLOPs are counted on the real modules."""

import torch

from grip_vlm import pruners
from grip_vlm.budget import Budget
from grip_vlm.cost import answer_flops, count, llava_cost
from grip_vlm.latency import measure
from grip_vlm.scorer import Scorer, ScorerConfig


def test_every_job_is_timed_at_every_batch(vlm, examples):
    jobs = [(name, pruners.load(name), Budget.parse(0.1)) for name in ("full", "random")]
    timings = measure(vlm, jobs, examples, batch=2, rounds=2)
    assert [(t.pruner, t.batch) for t in timings] == [("full", 2), ("random", 2)]
    assert all(0 < t.low <= t.seconds <= t.high for t in timings)


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
