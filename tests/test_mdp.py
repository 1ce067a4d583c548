"""States have the shapes they say, and an action knows how many tokens it keeps per layer."""

from dataclasses import replace

import pytest
import torch

from grip_vlm.mdp import Action, Schedule, State


@pytest.fixture
def state():
    return State(
        visual=torch.zeros(2, 5, 3),
        visual_mask=torch.tensor([[True] * 5, [True, True, False, False, False]]),
        places=torch.zeros(2, 5, 2),
        image=torch.zeros(2, 5, dtype=torch.long),
        question=torch.zeros(2, 4, 3),
        question_mask=torch.ones(2, 4, dtype=torch.bool),
    )


@pytest.mark.parametrize("name", ["visual_mask", "places", "image", "question", "question_mask"])
def test_a_state_whose_parts_do_not_fit_together_is_refused(state, name):
    with pytest.raises(ValueError, match=rf"State\.{name} is \(2, .*\), but should be "):
        replace(state, **{name: getattr(state, name)[..., :1]})


def test_the_tokens_of_a_state_are_counted_without_padding(state):
    assert state.counts.tolist() == [5, 2]


def test_an_action_lists_what_it_keeps_in_order():
    action = Action(torch.tensor([[True, False, True], [False, False, True]]))
    assert action.kept.tolist() == [2, 1]
    assert [action.indices(row) for row in range(2)] == [[0, 2], [2]]


def test_without_a_schedule_every_layer_has_the_tokens_that_enter():
    action = Action(torch.tensor([[True, False, True], [False, False, True]]))
    assert action.kept_per_layer(7).tolist() == [2.0, 1.0]


def test_with_a_schedule_tokens_per_layer_are_the_mean_over_layers():
    """Of four layers the first has what enters, the next two have what passes layer 1, and so on."""
    keep = {1: torch.tensor([6, 1]), 3: torch.tensor([2, 0])}
    mask = torch.arange(10) < torch.tensor([[10], [4]])
    schedule = Schedule(keep, torch.ones(2, 20, dtype=torch.bool))
    per_layer = Action(mask, schedule=schedule).kept_per_layer(4)
    assert per_layer.tolist() == [(10 + 6 + 6 + 2) / 4, (4 + 1 + 1 + 0) / 4]
