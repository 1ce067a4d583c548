"""What a scorer says of every visual token, whatever the padding, the number of tokens, the images or the precision."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from grip_vlm import policy
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, ScorerConfig

DIM = 24


@pytest.fixture
def scorer():
    torch.manual_seed(0)
    return Scorer(ScorerConfig(DIM, width=16, blocks=2)).eval()


def a_state(b=1, n=16, m=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return State(
        visual=torch.randn(b, n, DIM, generator=generator),
        visual_mask=torch.ones(b, n, dtype=torch.bool),
        places=torch.rand(b, n, 2, generator=generator),
        image=torch.zeros(b, n, dtype=torch.long),
        question=torch.randn(b, m, DIM, generator=generator),
        question_mask=torch.ones(b, m, dtype=torch.bool),
    )


def padded(state, n, m):
    """The same sample with room for n visual and m question tokens; the padding holds noise."""
    more_n, more_m = n - state.visual.shape[1], m - state.question.shape[1]
    noise = a_state(1, more_n, more_m, seed=99)
    return State(
        visual=torch.cat([state.visual, noise.visual], 1),
        visual_mask=F.pad(state.visual_mask, (0, more_n)),
        places=torch.cat([state.places, noise.places], 1),
        image=F.pad(state.image, (0, more_n)),
        question=torch.cat([state.question, noise.question], 1),
        question_mask=F.pad(state.question_mask, (0, more_m)),
    )


def stacked(*states):
    return State(*(torch.cat(tensors) for tensors in zip(*(vars(s).values() for s in states), strict=True)))


def k_of(*k):
    return torch.tensor(k)


def importance(scorer, state, *k):
    """(B, N)"""
    return scorer(state, k_of(*k)).importance


@pytest.mark.parametrize("n", [1, 4, 49, 256])
def test_every_token_gets_a_finite_score_of_its_own(scorer, n):
    scores = importance(scorer, a_state(2, n), 1, 1)
    assert scores.shape == (2, n)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert len(scores.flatten().unique()) == 2 * n


def test_padding_has_a_score_that_is_never_chosen(scorer):
    state = padded(a_state(n=6), 10, 5)
    scores = importance(scorer, state, 6)
    assert torch.isfinite(scores[0, :6]).all()
    assert (scores[0, 6:] == -torch.inf).all()
    assert policy.greedy(scorer(state, k_of(6)), k_of(6))[0].tolist() == [True] * 6 + [False] * 4


def test_a_padded_batch_equals_single_runs(scorer):
    one, two, three = a_state(n=9, m=3), a_state(n=16, m=7, seed=1), a_state(n=4, m=0, seed=2)
    together = importance(scorer, stacked(*(padded(state, 16, 7) for state in (one, two, three))), 2, 5, 1)
    for row, (state, k) in enumerate([(one, 2), (two, 5), (three, 1)]):
        alone = importance(scorer, state, k)[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=0)


def test_a_question_of_no_tokens_equals_one_that_is_all_padding(scorer):
    none = importance(scorer, a_state(m=0), 4)
    masked = importance(scorer, padded(a_state(m=0), 16, 6), 4)
    assert torch.isfinite(none).all()
    torch.testing.assert_close(masked, none, atol=1e-6, rtol=0)


def test_a_question_that_is_all_padding_has_finite_gradients(scorer):
    importance(scorer, padded(a_state(m=0), 16, 6), 4).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in scorer.parameters() if p.grad is not None)


def test_the_question_changes_what_matters(scorer):
    state = a_state()
    other = replace(state, question=a_state(seed=1).question)
    assert order_differs(importance(scorer, state, 4), importance(scorer, other, 4))


def blinded(scorer, to):
    """The same weights, and a modulation by the budget that is not zero any more."""
    torch.manual_seed(1)
    for block in scorer.blocks:
        torch.nn.init.normal_(block.modulation.weight)
    scorer.config = replace(scorer.config, blind_to=to)
    return scorer


@pytest.mark.parametrize(("to", "same"), [("nothing", False), ("budget", True), ("question", False)])
def test_the_scores_of_a_budget_blind_scorer_alone_are_the_same_for_every_budget(scorer, to, same):
    scorer = blinded(scorer, to)
    assert torch.equal(importance(scorer, a_state(), 1), importance(scorer, a_state(), 9)) == same


@pytest.mark.parametrize(("to", "same"), [("nothing", False), ("budget", False), ("question", True)])
def test_the_scores_of_a_question_blind_scorer_alone_are_the_same_for_every_question(scorer, to, same):
    scorer, other = blinded(scorer, to), a_state(m=7, seed=1)
    asked = replace(a_state(), question=other.question, question_mask=other.question_mask)
    assert torch.equal(importance(scorer, a_state(), 4), importance(scorer, asked, 4)) == same


def test_a_scorer_is_blind_to_what_there_is():
    with pytest.raises(ValueError, match="blind_to must be one of nothing, budget, question, got 'image'"):
        ScorerConfig(DIM, blind_to="image")


def test_the_order_of_the_question_matters(scorer):
    state = a_state()
    assert not torch.allclose(
        importance(scorer, state, 4), importance(scorer, replace(state, question=state.question.flip(1)), 4)
    )


def test_the_place_of_a_token_matters(scorer):
    state = a_state()
    moved = importance(scorer, replace(state, places=state.places.flip(1)), 4)
    assert order_differs(importance(scorer, state, 4), moved)


def test_a_token_is_scored_in_the_light_of_the_others(scorer):
    state = a_state()
    visual = state.visual.clone()
    visual[0, 9] = -visual[0, 9]
    assert abs(importance(scorer, replace(state, visual=visual), 4)[0, 0] - importance(scorer, state, 4)[0, 0]) > 1e-5


def order_differs(one, two):
    """The scores differ by more than a constant and rounding."""
    return not torch.allclose(one - one.mean(), two - two.mean(), atol=1e-4)


def test_reordering_tokens_with_their_places_reorders_their_scores(scorer):
    state, order = padded(a_state(n=12), 16, 5), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = replace(
        state,
        visual=state.visual[:, order],
        visual_mask=state.visual_mask[:, order],
        places=state.places[:, order],
        image=state.image[:, order],
    )
    torch.testing.assert_close(
        importance(scorer, shuffled, 4), importance(scorer, state, 4)[:, order], atol=1e-5, rtol=0
    )


def test_an_untrained_scorer_ranks_alike_for_every_budget(scorer):
    state = a_state(n=128)
    assert torch.equal(importance(scorer, state, 4), importance(scorer, state, 100))


def test_one_step_of_training_can_make_the_budget_matter(scorer):
    state = a_state(n=128)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-3)
    (importance(scorer, state, 4)[0, 0] - importance(scorer, state, 100)[0, 0]).backward()
    optimizer.step()
    assert order_differs(importance(scorer, state, 4), importance(scorer, state, 100))


def test_every_weight_is_trained(scorer):
    state = a_state(n=128)
    for block in scorer.blocks:  # while the modulation is zero, what feeds it has no gradient
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    scores, generator = scorer(state, k_of(4)), torch.Generator().manual_seed(0)
    sum((part * torch.randn(part.shape, generator=generator)).sum() for part in scores).backward()
    dead = {name for name, p in scorer.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {name for name in dead if not name.endswith("key.bias")}  # the softmax cancels a bias of all keys


def test_an_untrained_scorer_averts_every_repetition_alike(scorer):
    assert torch.equal(scorer(a_state(), k_of(4)).aversion, torch.full((1, 16), 4.0))
    scorer.config = replace(scorer.config, aversion=0.0)
    assert not scorer(a_state(), k_of(4)).aversion.any()


def test_keys_are_unit_vectors_and_before_training_the_tokens_as_projected(scorer):
    state = a_state()
    projected = scorer.visual(scorer.visual_norm(state.visual))
    torch.testing.assert_close(scorer(state, k_of(4)).keys, F.normalize(projected, dim=-1))


def test_two_images_in_one_sample_are_scored_together(scorer):
    left, right = a_state(n=9), a_state(n=7, seed=1)
    both = State(
        visual=torch.cat([left.visual, right.visual], 1),
        visual_mask=torch.ones(1, 16, dtype=torch.bool),
        places=torch.cat([left.places, right.places], 1),
        image=torch.tensor([[0] * 9 + [1] * 7]),
        question=left.question,
        question_mask=left.question_mask,
    )
    scores = importance(scorer, both, 5)
    assert torch.isfinite(scores).all()
    assert not torch.allclose(scores[:, :9], importance(scorer, left, 5))


def test_half_precision_weights_give_nearly_the_same_scores(scorer):
    state = a_state(n=64)
    exact = importance(scorer, state, 8).detach()
    half = importance(scorer.to(torch.bfloat16), state, 8).detach()
    assert half.dtype == torch.float32
    assert float(torch.corrcoef(torch.stack([exact[0], half[0]]))[0, 1]) > 0.98


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_tokens_may_come_in_the_precision_of_the_vlm(scorer, kind):
    state = a_state()
    other = replace(state, visual=state.visual.to(kind), question=state.question.to(kind))
    torch.testing.assert_close(importance(scorer, other, 4), importance(scorer, state, 4), atol=0.02, rtol=0)


def test_tokens_of_another_width_are_refused(scorer):
    state = a_state()
    wide = replace(state, visual=torch.zeros(1, 16, 32), question=torch.zeros(1, 5, 32))
    with pytest.raises(ValueError, match=f"reads tokens of width {DIM}, the VLM's are 32"):
        importance(scorer, wide, 4)


def test_a_state_whose_parts_do_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"State.places is \(1, 15, 2\), but should be \(1, 16, 2\)"):
        replace(a_state(), places=torch.zeros(1, 15, 2))


@pytest.mark.parametrize("wrong", [{"width": 10, "heads": 3}, {"width": 0}, {"blocks": 0}, {"frequencies": 0}])
def test_a_shape_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ValueError, match="a scorer needs positive sizes"):
        ScorerConfig(DIM, **wrong)


def test_a_negative_aversion_is_refused():
    with pytest.raises(ValueError, match="aversion must be at least 0, got -1"):
        ScorerConfig(DIM, aversion=-1)


def test_the_top_k_of_a_scorer_are_not_one_thing_twice():
    """Two tokens in four copies each: whatever the weights, the best two are one of each."""
    for seed in range(5):
        torch.manual_seed(seed)
        scorer, state = Scorer(ScorerConfig(DIM, width=16)).eval(), a_state(n=8, seed=seed)
        state = replace(state, visual=state.visual[:, [0, 0, 0, 0, 1, 1, 1, 1]])
        kept = policy.greedy(scorer(state, k_of(2)), k_of(2))[0]
        assert kept[:4].sum() == kept[4:].sum() == 1
