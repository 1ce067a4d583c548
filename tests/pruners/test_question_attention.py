"""Methods that begin with the attention of the question: their formulas by hand, and what they read."""

from dataclasses import replace

import pytest
import tiny
import torch
from toolkit.families import batch_of

from grip_vlm import pruners, vlms
from grip_vlm.pruners.choosing import rescaled
from grip_vlm.pruners.features import cosines
from grip_vlm.pruners.methods.id_selection import damped
from grip_vlm.pruners.methods.idpruner import marginal_relevance
from grip_vlm.vlms.early import question_attention


def seen():
    family = tiny.load("llava")
    vlm = vlms.wrap(family.model)
    return vlm, vlm.encode(batch_of(family)[0])


def test_idpruner_by_hand():
    """Halves of importance less halves of the highest cosine: 1 first; then -.1, .15 and .1; then -.1 and -.3."""
    importance = torch.tensor([1.0, 0.7, 0.5, 0.2])
    similarity = torch.tensor([[1, 0.9, 0.2, 0], [0.9, 1, 0.1, 0.3], [0.2, 0.1, 1, 0.8], [0, 0.3, 0.8, 1]])
    assert marginal_relevance(importance, similarity, 4).tolist() == [0, 2, 1, 3]


def test_idpruner_prefers_a_token_that_points_away_from_what_is_kept():
    """A negative cosine is a bonus: .1 + .25 against .3 of a token at a right angle."""
    similarity = torch.tensor([[1.0, -0.5, 0.0], [-0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert marginal_relevance(torch.tensor([1.0, 0.2, 0.6]), similarity, 2).tolist() == [0, 1]


def test_idpruner_of_equal_tokens_keeps_the_first():
    assert marginal_relevance(torch.zeros(4), torch.ones(4, 4), 3).tolist() == [0, 1, 2]


def test_id_selection_by_hand():
    """At a cosine of 0.95 a value is multiplied by 1 - exp(-1) = .632, at 0.9 by .865: 8, then 7 > .632 * 11 = 6.95.

    After the second pick 6.95 is multiplied by .865, to 6.01, and is below 6.5."""
    importance = torch.tensor([12.0, 11.0, 7.0, 6.5])
    similarity = torch.tensor([[1, 0.95, -1, -1], [0.95, 1, 0.9, -1], [-1, 0.9, 1, -1], [-1, -1, -1, 1]])
    assert damped(importance, similarity, 4).tolist() == [0, 2, 3, 1]


def test_id_selection_of_equal_tokens_keeps_the_first():
    """The cosine of a token with itself may be above 1 by rounding."""
    assert damped(torch.ones(4), torch.full((4, 4), 1.0000001), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "rule"),
    [("idpruner", lambda a, s, k: marginal_relevance(rescaled(a), s, k)), ("id_selection", damped)],
)
@torch.no_grad()
def test_importance_is_the_attention_of_the_question_and_similarity_that_of_projected_features(name, rule):
    vlm, encoded = seen()
    attention = question_attention(vlm, encoded, "this test")
    action = pruners.load(name).select(vlm, encoded, torch.tensor([4, 3]))
    for row, k in enumerate((4, 3)):
        n = int(encoded.state.counts[row])
        visual = encoded.state.visual[row, :n]
        assert action.indices(row) == sorted(rule(attention[row, :n], cosines(visual, visual), k).tolist())


@pytest.mark.parametrize("name", ["idpruner", "id_selection"])
@torch.no_grad()
def test_a_language_model_that_cannot_be_read_is_refused(name):
    family = tiny.load("gemma3")
    vlm = vlms.wrap(family.model)
    with pytest.raises(ValueError, match=rf"{name} reads full attention of llama"):
        pruners.load(name).select(vlm, vlm.encode(batch_of(family)[0]), torch.tensor([3, 3]))


@pytest.mark.parametrize("name", ["idpruner", "id_selection", "ptp"])
@torch.no_grad()
def test_a_prompt_that_ends_in_its_image_is_refused(name):
    vlm, encoded = seen()
    silent = replace(encoded, readers=torch.zeros_like(encoded.readers))
    with pytest.raises(ValueError, match=f"^{name} ranks by the attention of text after the last image"):
        pruners.load(name).select(vlm, silent, torch.tensor([3, 3]))
