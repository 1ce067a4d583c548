"""The sequential policy: samples, probabilities and greedy picks agree, for every ordered sample of 3 out of 5."""

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from grip_vlm import policy, subsets
from grip_vlm.mdp import State
from grip_vlm.rivals import plackett_luce
from grip_vlm.scorer import Scorer, ScorerConfig, Scores

ORDERS = torch.tensor(list(permutations(range(5), 3)))  # (60, 3)


def random_scores(b=1, n=5, seed=0, aversion=2.0):
    generator = torch.Generator().manual_seed(seed)
    importance = torch.randn(b, n, generator=generator, dtype=torch.float64)
    keys = F.normalize(torch.randn(b, n, 3, generator=generator, dtype=torch.float64), dim=-1)
    return Scores(importance, aversion * torch.rand(b, n, generator=generator, dtype=torch.float64), keys)


def k_of(*k):
    return torch.tensor(k)


def by_hand(scores, order, temperature=1.0):
    """log p of each pick of one sample, from the definition."""
    importance, aversion, keys = (part[0] for part in scores)
    kept, logs = [], []
    for token in order:
        left = [i for i in range(len(importance)) if i not in kept]
        redundancy = [max([0.0, *(float(keys[i] @ keys[j]) for j in kept)]) for i in left]
        value = (importance[left] - aversion[left] * torch.tensor(redundancy, dtype=torch.float64)) / temperature
        logs.append(value.log_softmax(0)[left.index(token)])
        kept.append(token)
    return torch.stack(logs)


def padded(scores, more):
    """The same tokens and `more` that are padding, with keys that would repeat everything."""
    keys = torch.cat([scores.keys, scores.keys[:, :1].expand(-1, more, -1)], 1)
    return Scores(F.pad(scores.importance, (0, more), value=-torch.inf), F.pad(scores.aversion, (0, more)), keys)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_each_step_is_a_softmax_over_the_tokens_left_less_what_they_repeat(temperature):
    scores = random_scores()
    steps = policy.step_log_probs(scores, ORDERS[None], temperature)
    found = steps.gather(3, ORDERS[None, ..., None])[0, ..., 0]
    torch.testing.assert_close(found, torch.stack([by_hand(scores, o.tolist(), temperature) for o in ORDERS]))


def test_the_probabilities_of_all_ordered_samples_sum_to_one():
    scores = random_scores(2)
    orders, k = ORDERS.expand(2, 60, 3), k_of(3, 3)
    total = policy.log_prob(scores, orders, k, 1.0).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64))


def test_samples_follow_the_probabilities_of_their_orders():
    scores, count, k = random_scores(), 6000, k_of(3)
    sampled = policy.sample(scores, k, count, 0.7, torch.Generator().manual_seed(0))[0]
    counts = (sampled[:, None] == ORDERS).all(-1).sum(0)
    expected = count * policy.log_prob(scores, ORDERS[None], k, 0.7)[0].exp()
    assert int(counts.sum()) == count
    assert float(((counts - expected) ** 2 / expected).sum()) < 98.3  # 99.9 % quantile, 59 degrees of freedom


def test_without_aversion_it_is_plackett_luce():
    scores = random_scores(aversion=0.0)
    steps = policy.step_log_probs(scores, ORDERS[None], 1.0)
    expected = plackett_luce.step_log_probs(scores.importance, ORDERS[None])
    torch.testing.assert_close(steps.gather(3, ORDERS[None, ..., None])[..., 0], expected)


def test_a_row_of_few_tokens_has_the_same_probabilities_beside_one_that_samples_more_than_it_has():
    short, long = random_scores(n=4, seed=3), random_scores(n=20, seed=4)
    batch = Scores(*(torch.cat(parts) for parts in zip(padded(short, 16), long, strict=True)))
    k = k_of(3, 7)
    order = policy.sample(batch, k, 64, 1.0, torch.Generator().manual_seed(0))
    found = policy.log_prob(batch, order, k, 1.0)[0]
    torch.testing.assert_close(found, policy.log_prob(short, order[:1, :, :3], k_of(3), 1.0)[0])
    other = random_scores(n=4, seed=5)
    others = Scores(*(torch.cat(parts) for parts in zip(padded(other, 16), long, strict=True)))
    away = policy.kl(batch, others, order, k)[0]
    torch.testing.assert_close(away, policy.kl(short, other, order[:1, :, :3], k_of(3))[0])


def test_scores_that_differ_by_thousands_have_finite_probabilities_and_gradients():
    scores = random_scores(1, 50)
    scores = scores._replace(importance=(1e3 * scores.importance).requires_grad_())
    order = policy.sample(scores, k_of(20), 4, 1.0, torch.Generator().manual_seed(0))
    found = policy.log_prob(scores, order, k_of(20), 1.0)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(scores.importance.grad).all()


def test_the_gradient_of_the_expected_reward_is_exact_in_importance_aversion_and_keys():
    """The score-function gradient over all samples equals finite differences of the expectation."""
    scores, k = random_scores(), k_of(3)
    reward = torch.randn(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def log_probs(given):
        return policy.log_prob(given, ORDERS[None], k, 1.0)[0]

    leaves = Scores(*(part.clone().requires_grad_() for part in scores))
    (log_probs(scores).exp() * reward * log_probs(leaves)).sum().backward()
    for index, leaf in enumerate(leaves):
        found = torch.zeros_like(leaf)
        for at in range(leaf.numel()):
            nudge = torch.zeros(leaf.numel(), dtype=torch.float64)
            nudge[at] = 1e-6
            nudge = nudge.view_as(leaf)
            up, down = (
                scores._replace(**{Scores._fields[index]: scores[index] + sign * nudge}) for sign in (1.0, -1.0)
            )
            found.view(-1)[at] = ((log_probs(up).exp() - log_probs(down).exp()) @ reward) / 2e-6
        torch.testing.assert_close(leaf.grad, found, atol=1e-6, rtol=1e-5)


def test_no_token_is_sampled_twice_and_padding_never():
    k = k_of(12, 7, 3)
    scores = padded(random_scores(3, 12), 4)
    order = policy.sample(scores, k, 16, 1.0, torch.Generator().manual_seed(0))
    assert order.shape == (3, 16, 12)
    mask = policy.as_mask(order, k, 16)
    assert torch.equal(mask.sum(2), k[:, None].expand(3, 16))
    assert not mask[..., 12:].any()


def test_the_same_seed_samples_the_same_orders():
    scores = random_scores(2, 30)
    one, two = (policy.sample(scores, k_of(9, 4), 3, 1.0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


def test_padding_and_other_budgets_in_the_batch_change_no_probability():
    scores, k = random_scores(20, 6), torch.arange(20) * 7 % 6 + 1
    order = policy.sample(scores, k, 4, 1.0, torch.Generator().manual_seed(0))
    together = policy.log_prob(padded(scores, 3), order, k, 1.0)
    for row in range(20):
        alone = Scores(*(part[row : row + 1] for part in scores))
        mine, few = order[row : row + 1, :, : int(k[row])], k[row : row + 1]
        expected = policy.log_prob(alone, mine, few, 1.0)
        torch.testing.assert_close(together[row : row + 1], expected)


def test_steps_that_do_not_count_have_finite_gradients():
    scores = padded(random_scores(2, 3), 2)
    leaves = Scores(*(part.clone().requires_grad_() for part in scores))
    k = k_of(1, 3)
    order = policy.sample(scores, k, 4, 1.0, torch.Generator().manual_seed(0))
    gains = policy.log_prob(leaves, order, k, 1.0), policy.kl(scores, leaves, order, k)
    torch.cat(gains).sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)
    assert not leaves.importance.grad[:, 3:].any()


def test_the_mean_divergence_over_samples_is_that_of_the_two_policies():
    scores, other, k = random_scores(), random_scores(seed=3), k_of(3)
    log_p, log_q = (policy.log_prob(given, ORDERS[None], k, 1.0)[0] for given in (scores, other))
    steps = policy.kl(scores, other, ORDERS[None], k)[0]
    torch.testing.assert_close((log_p.exp() * steps).sum(), (log_p.exp() * (log_p - log_q)).sum())


def test_a_policy_does_not_diverge_from_itself():
    scores, k = random_scores(2, 20), k_of(5, 20)
    order = policy.sample(scores, k, 3, 1.0, torch.Generator().manual_seed(0))
    assert not policy.kl(scores, scores, order, k).any()


# ---- the greedy path -------------------------------------------------------------------------------------------------


def test_the_greedy_path_takes_the_best_token_at_every_step():
    scores, kept = random_scores(1, 12, aversion=6.0), []
    for _ in range(5):
        left = [i for i in range(12) if i not in kept]
        kept.append(max(left, key=lambda token: float(by_hand(scores, [*kept, token])[-1])))
    assert policy.greedy(scores, k_of(5))[0].nonzero()[:, 0].tolist() == sorted(kept)


def test_samples_at_a_low_temperature_are_the_greedy_path():
    scores, k = random_scores(2, 30, aversion=4.0), k_of(6, 11)
    order = policy.sample(scores, k, 1, 1e-4, torch.Generator().manual_seed(0))
    assert torch.equal(policy.as_mask(order, k, 30)[:, 0], policy.greedy(scores, k))


def test_two_things_in_four_copies_each_are_kept_once_each():
    keys = F.one_hot(torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]), 2).double()
    scores = Scores(torch.tensor([[4.0, 3.9, 3.8, 3.7, 2.0, 1.9, 1.8, 1.7]]), torch.full((1, 8), 4.0), keys.float())
    assert policy.greedy(scores, k_of(2))[0].tolist() == [True, False, False, False, True, False, False, False]


def test_of_equal_tokens_the_first_is_kept():
    scores = Scores(torch.zeros(1, 4), torch.ones(1, 4), torch.ones(1, 4, 1))
    assert policy.greedy(scores, k_of(2))[0].tolist() == [True, True, False, False]


def test_a_batch_of_different_budgets_and_lengths_equals_single_runs():
    one, two = random_scores(1, 9), random_scores(1, 14, seed=1)
    both = Scores(*(torch.cat(parts) for parts in zip(padded(one, 5), two, strict=True)))
    for k in ([3, 14], [9, 2], [9, 14], [1, 13]):
        found = policy.greedy(both, k_of(*k))
        assert torch.equal(found[0, :9], policy.greedy(one, k_of(k[0]))[0])
        assert not found[0, 9:].any()
        assert torch.equal(found[1], policy.greedy(two, k_of(k[1]))[0])


def test_a_batch_with_too_many_pairs_is_taken_in_parts():
    scores, k = random_scores(5, 20, aversion=4.0), k_of(3, 20, 1, 7, 12)
    whole = policy.greedy(scores, k)
    for pairs in (1, 2 * 20**2):
        assert torch.equal(policy.greedy(scores, k, pairs), whole)


@pytest.mark.parametrize("k", [0, 6])
def test_a_budget_that_the_tokens_cannot_meet_is_refused(k):
    with pytest.raises(ValueError, match=r"k must be between 1 and the number of tokens; got k \[[06]\] for \[5\]"):
        policy.greedy(random_scores(), k_of(k))


@pytest.mark.parametrize("part", Scores._fields)
def test_scores_that_are_not_a_number_are_refused(part):
    scores = random_scores()
    getattr(scores, part)[0, 2] = torch.nan
    with pytest.raises(ValueError, match=f"({part}|scores).* contain NaN"):
        policy.greedy(scores, k_of(2))


@pytest.mark.parametrize("one_pass", [False, True])
def test_a_scorer_chooses_by_the_way_its_configuration_names(one_pass):
    torch.manual_seed(0)
    scorer, k = Scorer(ScorerConfig(6, width=8, heads=1, one_pass=one_pass)).eval(), k_of(5)
    state = State(
        visual=torch.randn(1, 12, 6),
        visual_mask=torch.ones(1, 12, dtype=torch.bool),
        places=torch.rand(1, 12, 2),
        image=torch.zeros(1, 12, dtype=torch.long),
        question=torch.randn(1, 3, 6),
        question_mask=torch.ones(1, 3, dtype=torch.bool),
    )
    with torch.no_grad():
        scores = scorer(state, k)
    in_turn, by_score = policy.greedy(scores, k), subsets.top_k(policy.discounted(scores), k)
    assert not torch.equal(in_turn, by_score)
    assert torch.equal(policy.choose(scorer, state, k), by_score if one_pass else in_turn)


# ---- exploration -----------------------------------------------------------------------------------------------------


def test_disagreement_is_the_share_of_tokens_that_another_subset_lacks():
    mask = torch.tensor([[[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], [[1, 1, 0, 0]] * 3], dtype=torch.bool)
    torch.testing.assert_close(policy.disagreement(mask, k_of(2, 2)), torch.tensor([0.5, 0.0]))


# ---- one pass --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64])
def test_one_pass_takes_off_the_highest_cosine_with_any_token_more_important(n):
    scores = random_scores(2, n)
    cosine = scores.keys @ scores.keys.mT
    for b in range(2):
        for i in range(n):
            better = [float(cosine[b, i, j]) for j in range(n) if scores.importance[b, j] > scores.importance[b, i]]
            expected = scores.importance[b, i] - scores.aversion[b, i] * max([0.0, *better])
            assert float(policy.discounted(scores)[b, i]) == pytest.approx(float(expected))


def test_one_pass_leaves_padding_at_minus_infinity_and_ignores_it():
    scores = random_scores(1, 6)
    found = policy.discounted(padded(scores, 2))
    assert torch.equal(found[:, :6], policy.discounted(scores))
    assert torch.isneginf(found[:, 6:]).all()


def test_of_two_equal_tokens_the_second_repeats_the_first():
    scores = Scores(torch.ones(1, 2), torch.full((1, 2), 3.0), torch.ones(1, 2, 1))
    assert policy.discounted(scores)[0].tolist() == [1.0, -2.0]


def test_one_pass_has_a_gradient_in_importance_alone():
    leaves = Scores(*(part.clone().requires_grad_() for part in random_scores(1, 5)))
    policy.discounted(leaves).sum().backward()
    assert torch.equal(leaves.importance.grad, torch.ones(1, 5, dtype=torch.float64))
    assert leaves.aversion.grad is None
    assert leaves.keys.grad is None
