"""Pruning is exact whatever the batch: random numbers of images, questions, sides of padding and budgets."""

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from toolkit.families import CLOSE, LONG, QUESTION, full_positions, load

from grip_vlm import vlms
from grip_vlm.mdp import Action
from grip_vlm.pruners.base import BasePruner
from grip_vlm.subsets import top_k

few = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # for busy machines
FAMILIES = pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3"])
SIDES = st.sampled_from(["left", "right"])
BUDGETS = st.tuples(*[st.one_of(st.integers(1, 9), st.sampled_from([0.1, 0.3, 0.7, 1.0]))] * 3)


class ByCount(BasePruner):
    """Samples that depend on the number of tokens alone: the same for a row in a batch and by itself."""

    def select(self, vlm, encoded, k):
        scores = torch.full(encoded.state.visual_mask.shape, -torch.inf)
        for row, count in enumerate(encoded.state.counts.tolist()):
            scores[row, :count] = torch.rand(count, generator=torch.Generator().manual_seed(count))
        return Action(top_k(scores, k))


@st.composite
def questions(draw):
    """Numbers of images of one to three rows, at least one in all, and which question each row asks."""
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any))
    return [(n, draw(st.sampled_from([QUESTION, LONG]))) for n in counts]


def rows_of(family, asked):
    """Rows of a batch for the processor, each with images of its own."""
    return [(family.images(n, seed), question) for seed, (n, question) in enumerate(asked)]


def last_logits(model, inputs):
    return model(**inputs, use_cache=False).logits[:, -1]


@pytest.mark.slow
@FAMILIES
@few
@given(asked=questions(), side=SIDES, budgets=BUDGETS, per_image=st.booleans())
@example(asked=[(2, LONG), (0, QUESTION)], side="left", budgets=(4, 2, 1), per_image=True)  # as many images as rows
@torch.no_grad()
def test_a_batch_of_any_budgets_equals_single_runs(name, asked, side, budgets, per_image):
    family, pruner = load(name), ByCount()
    rows = rows_of(family, asked)
    budgets = budgets[: len(rows)]
    pruned = pruner.prune(family.model, family.inputs(rows, side), budgets, per_image=per_image, forward=True)
    together = last_logits(family.model, pruned)
    for i, (row, budget) in enumerate(zip(rows, budgets, strict=True)):
        alone = family.inputs([row])
        if row[0]:
            alone = pruner.prune(family.model, alone, budget, per_image=per_image, forward=True)
        else:
            alone["position_ids"] = full_positions(vlms.wrap(family.model), alone)
        torch.testing.assert_close(together[i : i + 1], last_logits(family.model, alone), **CLOSE)


@pytest.mark.slow
@FAMILIES
@few
@given(asked=questions(), side=SIDES, share=st.sampled_from([0.0, 0.2, 0.5, 0.9]), seed=st.integers(0, 99))
@torch.no_grad()
def test_any_removed_tokens_equal_masked_ones(name, asked, side, share, seed):
    family = load(name)
    vlm = vlms.wrap(family.model)
    encoded = vlm.encode(family.inputs(rows_of(family, asked), side))
    prompt, valid = encoded.prompt, encoded.state.visual_mask
    keep = valid & (torch.rand(valid.shape, generator=torch.Generator().manual_seed(seed)) < share)
    whole = vlm.pruned(prompt, Action(valid))
    row, token = (valid & ~keep).nonzero(as_tuple=True)
    whole["attention_mask"][row, prompt.slots[row, token]] = 0
    found = last_logits(family.model, vlm.pruned(prompt, Action(keep)))
    torch.testing.assert_close(found, last_logits(family.model, whole), **CLOSE)
