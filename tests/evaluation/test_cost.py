"""FLOPs are counted on the real modules, in the calls that `evaluate` makes."""

import pytest
import torch

from grip_vlm import pruners
from grip_vlm.budget import Budget
from grip_vlm.evaluation.cost import answer_flops, count_flops


@pytest.fixture
def eager(vlm):
    """The VLM with the attention whose products the counter knows."""
    vlm.model.set_attn_implementation("eager")
    yield vlm
    vlm.model.set_attn_implementation("sdpa")


def test_a_matrix_product_costs_two_flops_per_multiplication():
    assert count_flops(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


@pytest.mark.slow
def test_an_answer_costs_more_flops_with_more_tokens_and_the_full_one_most(eager, examples):
    chosen = {name: pruners.load(name) for name in ("full", "random", "blind")}
    found = answer_flops(eager, chosen, [Budget.parse("0.1"), Budget.parse("0.5")], examples[:2])
    tower = count_flops(lambda: eager.encode(eager.inputs([examples[0].image], [examples[0].question])))
    assert {name: list(of) for name, of in found.items()} == {
        "full": ["1.0"],
        "random": ["0.1", "0.5"],
        "blind": ["0"],
    }
    assert tower < found["blind"]["0"] < found["random"]["0.1"] < found["random"]["0.5"] < found["full"]["1.0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm", "vscan"])
def test_methods_inside_the_language_model_are_counted_too(name, eager, examples):
    """They keep as many tokens per layer as their budget says, so their costs lie between the extremes."""
    chosen = {method: pruners.load(method) for method in ("full", "blind", name)}
    found = answer_flops(eager, chosen, [Budget.parse("0.5"), Budget.parse("0.75")], examples[:1])
    assert found["blind"]["0"] < found[name]["0.5"] < found[name]["0.75"]
    assert found[name]["0.5"] < found["full"]["1.0"]
