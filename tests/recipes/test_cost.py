"""The recipe that counts FLOPs: the language model dominates, and the scorer is a small share."""

from cost import llava_cost
from grip_vlm.scorer import Scorer, ScorerConfig


def test_the_cost_of_the_language_model_is_at_least_two_thirds_of_a_full_forward(vlm):
    vlm.model.set_attn_implementation("eager")
    try:
        cost = llava_cost(vlm.model, Scorer(ScorerConfig(dim=vlm.dim)))
    finally:
        vlm.model.set_attn_implementation("sdpa")
    assert cost.language_share >= 2 / 3
    assert cost.scorer_share <= 0.05
