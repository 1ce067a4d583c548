"""Methods by features alone do what their formulas say, by hand and by enumeration, for every VLM family."""

from functools import cache
from itertools import combinations

import pytest
import torch
from toolkit.families import NAMES, batch_of, load
from torch import Tensor

from grip_vlm import pruners, vlms
from grip_vlm.mdp import Action, State
from grip_vlm.pruners.determinant import greedy_map
from grip_vlm.pruners.features import cosines, relevance
from grip_vlm.pruners.merging import merge
from grip_vlm.pruners.methods.cdpruner import RIDGE
from grip_vlm.pruners.methods.dart import least_duplicated
from grip_vlm.pruners.methods.divprune import farthest_first
from grip_vlm.pruners.methods.otprune import transport_kernel
from grip_vlm.pruners.methods.pumer import prune_and_merge
from grip_vlm.pruners.methods.svd_prune import leverage
from grip_vlm.sequence import Prompt
from grip_vlm.vlms.early import read_early_layers
from grip_vlm.vlms.encode import Encoded

FEATURES = ["cdpruner", "divprune", "otprune", "pumer", "svd_prune", "tome"]


def encoded_of(visual: Tensor, question: Tensor) -> Encoded:
    """One sample of (n, D) visual and (m, D) question tokens."""
    n, m = len(visual), len(question)
    none = torch.zeros(1, n)
    state = State(visual[None], none == 0, torch.zeros(1, n, 2), none, question[None], torch.ones(1, m).bool())
    ids = torch.zeros(1, 1, dtype=torch.long)
    return Encoded(Prompt(ids, ids + 1, ids, none.long(), visual[None], pad_token_id=0), state)


def select(name, visual, question, k):
    return pruners.load(name).select(None, encoded_of(visual, question), torch.tensor([k]))


def twins(pairs, dim=6):
    """Random directions, and for each one another token that is almost the same."""
    base = torch.randn(pairs, dim, generator=torch.Generator().manual_seed(pairs))
    return torch.cat([base, base + 0.01 * base.roll(1, 0)])


# ---- every family ----------------------------------------------------------------------------------------------------


@cache
def seen(name):
    """A batch of two rows of different lengths, and each row alone."""
    vlm = vlms.wrap(load(name).model)
    together, alone = batch_of(load(name))
    return vlm, vlm.encode(together), [vlm.encode(row) for row in alone]


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("family", NAMES)
def test_every_family_keeps_in_a_batch_what_it_keeps_alone(family, name):
    vlm, together, alone = seen(family)
    pruner = pruners.load(name)
    k = torch.stack([together.state.counts[0] // 3, torch.tensor(2)])
    action = pruner.select(vlm, together, k)
    assert action.kept.tolist() == k.tolist()
    for row, one in enumerate(alone):
        expected = pruner.select(vlm, one, k[row : row + 1])
        assert action.indices(row) == expected.indices()
        if expected.features is not None:
            found = action.features[row][action.mask[row]]
            torch.testing.assert_close(found, expected.features[expected.mask], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava_next", "gemma3", "qwen3_vl"])
@torch.no_grad()
def test_merged_features_reach_the_language_model(family):
    vlm, encoded, _ = seen(family)
    tome = pruners.load("tome")
    action = tome.select(vlm, encoded, torch.tensor([5, 5]))
    found = vlm.model(**tome.prune(vlm.model, batch_of(load(family))[0], 5, forward=True)).logits
    torch.testing.assert_close(found, vlm.model(**vlm.pruned(encoded.prompt, action)).logits)
    unmerged = vlm.model(**vlm.pruned(encoded.prompt, Action(action.mask))).logits
    assert not torch.allclose(found, unmerged, atol=1e-2)


# ---- what they share -------------------------------------------------------------------------------------------------


def test_relevance_is_the_mean_cosine_with_the_words_of_the_question():
    visual = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    question = torch.tensor([[5.0, 0.0], [0.0, 3.0]])
    torch.testing.assert_close(relevance(visual, question), torch.tensor([0.5, 0.5, -0.5]))


@pytest.mark.parametrize("name", ["cdpruner", "pumer"])
def test_a_method_that_needs_a_question_refuses_a_prompt_without(name):
    with pytest.raises(ValueError, match="needs text, and this prompt has none"):
        select(name, torch.eye(3), torch.zeros(0, 3), 2)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("k", [0, 4])
def test_an_impossible_count_is_refused(name, k):
    with pytest.raises(ValueError, match=f"cannot keep {k} of 3 visual tokens; keep between 1 and 3"):
        select(name, torch.eye(3), torch.ones(1, 3), k)


@pytest.mark.parametrize("name", FEATURES)
def test_one_token_of_one_is_kept_as_it_is(name):
    visual = torch.tensor([[0.3, -2.0]])
    action = select(name, visual, torch.ones(1, 2), 1)
    assert action.indices() == [0]
    assert action.features is None or torch.equal(action.features[0], visual)


@pytest.mark.parametrize("name", FEATURES)
def test_padding_has_no_say_whatever_is_in_it(name):
    generator = torch.Generator().manual_seed(0)
    visual, question = torch.randn(16, 4, generator=generator), torch.randn(3, 4, generator=generator)
    noise = 9 * torch.randn(5, 4, generator=generator)
    encoded = encoded_of(torch.cat([visual, noise]), torch.cat([question, noise]))
    encoded.state.visual_mask[0, 16:] = encoded.state.question_mask[0, 3:] = False
    for k in (1, 5, 12, 16):
        found = pruners.load(name).select(None, encoded, torch.tensor([k]))
        assert found.indices() == select(name, visual, question, k).indices()


@pytest.mark.parametrize("name", FEATURES)
def test_equal_tokens_still_give_exactly_k(name):
    for k in range(1, 8):
        assert select(name, torch.ones(7, 4), torch.ones(2, 4), k).kept.tolist() == [k]


# ---- divprune --------------------------------------------------------------------------------------------------------


def test_divprune_by_hand():
    """Directions of 0, 10, 60, 100 and 180 degrees: the loneliest, its opposite, and so on; lengths do not count."""
    angle = torch.tensor([0.0, 10.0, 60.0, 100.0, 180.0]).deg2rad()
    visual = torch.stack([angle.cos(), angle.sin()], 1) * torch.tensor([[1.0], [9.0], [2.0], [1.0], [0.5]])
    assert farthest_first(visual, 5).tolist() == [4, 0, 3, 2, 1]


def test_divprune_is_within_a_factor_of_four_of_the_best_of_all_subsets():
    """A factor of two in the distance of unit vectors (Tamir 1991), whose square is twice the distance here."""
    visual = twins(5)
    distance = 1 - cosines(visual, visual)

    def least(subset):
        return min(float(distance[i, j]) for i, j in combinations(subset, 2))

    for k in (2, 3, 4, 5):
        best = max(least(subset) for subset in combinations(range(10), k))
        assert least(farthest_first(visual, k).tolist()) >= best / 4


# ---- cdpruner --------------------------------------------------------------------------------------------------------


def volume(kernel, subset):
    return float(kernel[subset][:, subset].det())


@pytest.mark.parametrize(("last", "order"), [(0.5, [0, 2, 1]), (0.4, [0, 1, 2])])
def test_cdpruner_by_hand(last, order):
    """After the first token the second, at 30 degrees, adds 0.81 sin^2(30) = 0.2025, the third, at a right angle, its
    relevance squared: 0.25 or 0.16."""
    angle = torch.tensor([0.0, 30.0, 90.0]).deg2rad()
    visual = torch.stack([angle.cos(), angle.sin()], 1)
    assert greedy_map(cosines(visual, visual), torch.tensor([1.0, 0.9, last]), 3, RIDGE).tolist() == order


def test_cdpruner_adds_the_token_that_raises_the_determinant_most():
    visual, r = twins(5), torch.rand(10, generator=torch.Generator().manual_seed(1)).double()
    similarity = cosines(visual, visual)
    kernel = r[:, None] * (similarity.double() + RIDGE * torch.eye(10)) * r
    chosen = greedy_map(similarity, r, 10, RIDGE).tolist()
    for step, newest in enumerate(chosen):
        larger = {i: volume(kernel, [*chosen[:step], i]) for i in range(10) if i not in chosen[:step]}
        assert newest == max(larger, key=larger.get)


def test_cdpruner_of_two_is_within_a_factor_of_four_of_the_best_pair():
    visual, r = twins(5), torch.linspace(0.3, 1, 10)
    kernel = r[:, None] * cosines(visual, visual) * r
    best = max(volume(kernel, list(pair)) for pair in combinations(range(10), 2))
    assert volume(kernel, greedy_map(cosines(visual, visual), r, 2, RIDGE).tolist()) >= best / 4


def test_cdpruner_keeps_the_most_relevant_of_unlike_tokens():
    """Of tokens at right angles the likeliest set is the most relevant one."""
    question = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    assert select("cdpruner", torch.eye(4), question, 2).indices() == [1, 3]


# ---- otprune ---------------------------------------------------------------------------------------------------------


def test_the_kernel_of_otprune_is_the_square_of_the_gram_matrix_of_normed_channels():
    """Channels (3, 4) and (0, 2) have the lengths 5 and 2; rows are then (.6, 0) and (.8, 1)."""
    visual = torch.tensor([[3.0, 0.0], [4.0, 2.0]])
    gram = torch.tensor([[0.36, 0.48], [0.48, 1.64]], dtype=torch.float64)
    torch.testing.assert_close(transport_kernel(visual), 0.01 * gram @ gram)


def test_otprune_adds_the_token_that_raises_the_determinant_most():
    visual = twins(5)
    gram = (visual / visual.norm(dim=0)).double()
    kernel = torch.eye(10) + 0.01 * (gram @ gram.T) @ (gram @ gram.T)
    expected = []
    for _ in range(4):
        larger = {i: volume(kernel, [*expected, i]) for i in range(10) if i not in expected}
        expected.append(max(larger, key=larger.get))
    assert select("otprune", visual, torch.zeros(0, 6), 4).indices() == sorted(expected)


# ---- dart ------------------------------------------------------------------------------------------------------------

LARGE = [[10.0, 0.0], [9.0, 0.0], [8.0, 0.0], [7.0, 0.0]]
SMALL = [[-1.0, 0.0], [-1.0, 0.1], [-1.0, 0.2], [-1.0, 0.3], [0.1, -1.0], [1.0, 0.1]]


def chosen(visual, question, k):
    """By keys that are the hidden states themselves."""
    return least_duplicated(visual, question, visual, question, k).tolist()


def test_dart_by_hand():
    """Four pivots by norm; of the three places left, pivots 0, 1 and 2 take the one least like them that is free."""
    assert chosen(torch.tensor(LARGE + SMALL), torch.zeros(0, 2), 7) == [0, 1, 2, 3, 4, 5, 6]


def test_the_question_is_a_pivot_of_dart():
    """The fifth of five places goes to the question, least like token 9; the image alone would take token 8."""
    visual = torch.tensor(LARGE + SMALL)
    assert chosen(visual, torch.tensor([[-1.0, -1.0]]), 9) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert chosen(visual, torch.zeros(0, 2), 9) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_few_tokens_of_dart_are_the_largest_in_l1_norm():
    visual = torch.tensor([[3.0, 0.0], [2.0, 2.0], [0.0, -3.5], [1.0, 0.0]])
    assert chosen(visual, torch.ones(1, 2), 2) == [1, 2]


def test_pivots_of_dart_are_the_largest_keys_and_its_cosines_those_of_hidden_states():
    states, keys = torch.tensor(LARGE + SMALL), torch.tensor(LARGE + SMALL).flip(0)
    found = least_duplicated(states, torch.zeros(0, 2), keys, torch.zeros(0, 2), 5).tolist()
    assert found == [9, 8, 7, 6, 4]  # the last four are pivots now, and 4 points away from (1, 0.1) most


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision", "mistral3"])
@torch.no_grad()
def test_dart_reads_what_enters_layer_2_and_keys_of_layer_1(family):
    """Hidden states are those the model itself gives, keys those it caches."""
    vlm, encoded, _ = seen(family)
    read = read_early_layers(vlm, encoded, "this test")
    inputs = vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask))
    out = vlm.model(**inputs, output_hidden_states=True, use_cache=True)
    there = encoded.prompt.attention_mask.bool()
    last = len(read.inputs) - 1
    torch.testing.assert_close(read.inputs[last][there], out.hidden_states[last][there])
    cached = out.past_key_values.layers[last - 1].keys
    torch.testing.assert_close(read.heads(last - 1, "k").transpose(1, 2)[there], cached.transpose(1, 2)[there])
    for part in (1, 3):
        assert pruners.load("dart").select(vlm, encoded, torch.tensor([part, part])).kept.tolist() == [part, part]


@torch.no_grad()
def test_dart_refuses_a_language_model_that_it_cannot_read():
    vlm, encoded, _ = seen("gemma3")
    with pytest.raises(ValueError, match=r"dart reads full attention of llama"):
        pruners.load("dart").select(vlm, encoded, torch.tensor([3, 3]))


# ---- tome and pumer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "at", "features"),
    [
        (3, [1, 2, 3], [[1.5, 0.0], [0.1, 1.0], [0.0, 3.0]]),
        (2, [1, 3], [[1.5, 0.0], [0.05, 2.0]]),
        (1, [3], [[0.775, 1.0]]),
    ],
)
def test_tome_by_hand(k, at, features):
    """Tokens 0 and 2 are matched with 1 and 3; 0 is closer to its match and merges first."""
    visual = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.1, 1.0], [0.0, 3.0]])
    action = select("tome", visual, torch.zeros(0, 2), k)
    assert action.indices() == at
    torch.testing.assert_close(action.features[0, at], torch.tensor(features))


@pytest.mark.parametrize("n", [2, 3, 7, 12])
def test_all_tokens_merged_are_the_mean_of_all(n):
    """Whatever the sizes on the way: a mean that forgot them would weigh the last comers more."""
    visual = torch.randn(n, 5, generator=torch.Generator().manual_seed(n))
    torch.testing.assert_close(merge(visual, 1)[1][0], visual.mean(0))


def test_eight_pairs_merge_in_a_round():
    """Eight twins, then tokens like none: the ninth merge is of a second round, which begins at the front again."""
    twin = torch.eye(24)[:8].repeat_interleave(2, 0)
    assert merge(torch.cat([twin, torch.eye(24)[8:]]), 23)[0].tolist() == [*range(3, 16, 2), *range(16, 32)]


def test_tokens_that_nothing_merges_into_keep_their_features_to_the_bit():
    visual = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    at, features = merge(visual, 8)
    assert int((features == visual[at]).all(1).sum()) == 7


def test_pumer_by_hand():
    """Of four tokens to remove, one is pruned (5, which points away from the question) and three merge."""
    e = torch.eye(4)
    visual = torch.stack([e[0], 3 * e[0], e[1], 3 * e[1], e[2], -e[3], 3 * e[2], e[3]])
    action = select("pumer", visual, torch.ones(1, 4), 4)
    assert action.indices() == [1, 3, 6, 7]
    expected = torch.stack([2 * e[0], 2 * e[1], 2 * e[2], e[3]])
    torch.testing.assert_close(action.features[0, [1, 3, 6, 7]], expected)


def test_pumer_prunes_a_quarter_of_what_goes():
    """Of tokens with one feature each, one-hot, a mean over those that stayed shows which ones were left out."""
    visual, scores = torch.eye(9), torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert (prune_and_merge(visual, scores, 1)[1][0] == 0).nonzero()[:, 0].tolist() == [0, 2]


# ---- svd_prune -------------------------------------------------------------------------------------------------------


def test_svd_prune_by_hand():
    """Singular values 5, 5 and 1: two directions hold 50/51 of the energy, one holds 25/51."""
    visual = torch.tensor([[3.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 1.0], [4.0, 0.0, 0.0]])
    torch.testing.assert_close(leverage(visual), torch.tensor([0.18, 0.5, 0.0, 0.32]))


def test_svd_prune_takes_off_the_mean():
    visual = torch.tensor([[0.0, 1.0], [4.0, 0.0], [-4.0, 0.0], [0.0, -1.0]])
    for common in (0.0, 100.0):
        assert select("svd_prune", visual + common, torch.zeros(0, 2), 2).indices() == [1, 2]


def test_svd_prune_drops_directions_beyond_the_energy():
    """The first direction holds 25/26 > 0.9 of the energy: the second token has no share in it."""
    visual = torch.tensor([[3.0, 0.0], [0.0, 1.0], [4.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(leverage(visual), torch.tensor([0.36, 0.0, 0.64, 0.0]))


def test_svd_prune_uses_half_as_many_directions_as_tokens():
    visual = torch.diag(torch.tensor([3.7, 4.0, 3.8, 3.9]))
    torch.testing.assert_close(leverage(visual), torch.tensor([0.0, 0.5, 0.0, 0.5]))
