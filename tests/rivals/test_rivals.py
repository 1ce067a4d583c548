"""The trained rivals do what their formulas say: independent keeps, keep or drop, noise gates, PPO, imitation."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import tiny
import torch

from grip_vlm import vlms
from grip_vlm.benchmarks import Example
from grip_vlm.rivals import bernoulli
from grip_vlm.rivals.dynamicvit import RATIO, decide, ratio_loss
from grip_vlm.rivals.noise_gate import Denoiser, noise_gate_loss, throttle
from grip_vlm.rivals.tprl import Critic, PPOConfig, advantages, missed
from grip_vlm.training import gates
from grip_vlm.training.advantage import clipped_gain
from grip_vlm.training.bank import build_bank
from grip_vlm.training.rewards import teacher_forced
from grip_vlm.training.run import seeded
from grip_vlm.training.warmup import WarmupConfig, imitation_loss

PADDED = torch.tensor([[0.3, -1.2, 2.0, 0.1], [1.0, 0.5, -torch.inf, -torch.inf]])


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


def every_mask(n):
    return torch.tensor(list(product([False, True], repeat=n)))  # (2^n, n)


# ---- independent keeps -----------------------------------------------------------------------------------------------


def test_the_log_probability_of_independent_keeps_is_the_product_worked_out_by_hand():
    logits = random_scores(1, 4)
    masks, p = every_mask(4), logits.sigmoid()
    expected = torch.where(masks, p, 1 - p).prod(1)
    found = bernoulli.log_prob(logits.expand(16, 4), masks).exp()
    torch.testing.assert_close(found, expected)
    assert float(found.sum()) == pytest.approx(1)


def test_the_entropy_of_independent_keeps_is_that_of_all_masks():
    logits = random_scores(1, 4)
    log_p = bernoulli.log_prob(logits.expand(16, 4), every_mask(4))
    torch.testing.assert_close(bernoulli.entropy(logits)[0], -(log_p.exp() * log_p).sum())


def test_scores_of_zero_keep_the_budget_in_the_mean():
    scores = torch.where(torch.isfinite(PADDED), 0.0, -torch.inf)
    kept = bernoulli.logits(scores, torch.tensor([3, 1])).sigmoid().sum(1)
    torch.testing.assert_close(kept, torch.tensor([3.0, 1.0]))


def test_a_budget_of_all_tokens_leaves_the_logits_finite():
    logits = bernoulli.logits(PADDED, torch.tensor([4, 2]))
    assert torch.isfinite(logits).all()
    assert (logits[:, :2] > PADDED[:, :2]).all()


def test_padding_is_never_kept_costs_nothing_and_has_no_gradient():
    scores = PADDED.clone().requires_grad_()
    k = torch.tensor([2, 1])
    logits = bernoulli.logits(scores, k)
    drawn = torch.stack([bernoulli.sample(logits, rng(seed)) for seed in range(50)])
    assert not drawn[:, 1, 2:].any()
    alone = bernoulli.logits(PADDED[1:, :2], k[1:])
    torch.testing.assert_close(bernoulli.log_prob(logits, drawn[0])[1:], bernoulli.log_prob(alone, drawn[0, 1:, :2]))
    torch.testing.assert_close(bernoulli.entropy(logits)[1:], bernoulli.entropy(alone))
    (bernoulli.log_prob(logits, drawn[0]) + bernoulli.entropy(logits)).sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[1, 2:].any()


def test_tokens_are_kept_as_often_as_their_probability_says():
    logits = random_scores(1, 6)
    drawn = bernoulli.sample(logits.expand(4000, 6), rng())
    torch.testing.assert_close(drawn.float().mean(0), logits.sigmoid()[0], atol=0.03, rtol=0)


# ---- keep or drop ----------------------------------------------------------------------------------------------------


def test_a_decision_is_hard_forward_and_has_the_gradient_of_the_sigmoid():
    logits = random_scores(3, 50).requires_grad_()
    kept = decide(logits, rng(1))
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    kept.sum().backward()
    noisy = (logits + torch.logit(torch.rand(3, 50, generator=rng(1)))).sigmoid()
    assert torch.equal(kept > 0.5, noisy > 0.5)
    torch.testing.assert_close(logits.grad, (noisy * (1 - noisy)).detach())


def test_a_decision_keeps_with_the_probability_of_its_logit():
    logits = random_scores(1, 6)
    kept = decide(logits.expand(4000, 6), rng())
    torch.testing.assert_close(kept.mean(0), logits.sigmoid()[0], atol=0.03, rtol=0)


def test_the_ratio_loss_is_the_squared_miss_relative_to_the_budget():
    p = torch.tensor([[0.9, 0.9, 0.9, 0.3], [0.7, 0.1, 0.1, 0.1], [0.5, 0.5, 0.4, 0.6]])  # 3, 1 and 2 in the mean
    loss = ratio_loss(p.logit(), torch.tensor([2, 4, 2]))
    assert float(loss) == pytest.approx((0.5**2 + 0.75**2 + 0) / 3)


def test_the_ratio_loss_is_dynamic_llavas_at_a_fifth():
    """100 (mean - 0.2)^2 at 20 tokens of 100."""
    logits = torch.full((1, 100), 0.31).logit()
    assert RATIO * float(ratio_loss(logits, torch.tensor([20]))) == pytest.approx(100 * (0.31 - 0.2) ** 2)


def test_dropped_tokens_are_masked_and_the_gradient_reaches_them():
    kept = torch.tensor([[1.0, 0.0]], requires_grad=True)
    weight = (gates.bias_of(kept) + torch.tensor([[0.7, 0.7]])).exp()
    torch.testing.assert_close(weight, torch.tensor([[1.0, 1e-4]]) * torch.tensor(0.7).exp())
    weight.sum().backward()
    torch.testing.assert_close(kept.grad, torch.full((1, 2), 0.7).exp(), atol=0, rtol=1e-3)


# ---- noise gates -----------------------------------------------------------------------------------------------------

MASK = torch.ones(2, 500, dtype=torch.bool)
FEATURES = 3 + 2 * random_scores(2, 500, 4, seed=3)


def test_a_gate_of_one_is_the_clean_token():
    torch.testing.assert_close(throttle(FEATURES, MASK, torch.ones(2, 500), rng()), FEATURES, atol=1e-4, rtol=0)


def test_a_gate_of_zero_is_pure_noise():
    """Other tokens with the same mean and deviation give the same noise."""
    shuffled = FEATURES.flatten(0, 1)[torch.randperm(1000, generator=rng())].view_as(FEATURES)
    one, two = (throttle(features, MASK, torch.zeros(2, 500), rng(5)) for features in (FEATURES, shuffled))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_noise_keeps_mean_and_deviation_and_leaves_the_root_of_the_gate_of_the_signal(gate):
    noisy = throttle(FEATURES, MASK, torch.full((2, 500), gate), rng(5)).flatten(0, 1)
    clean = FEATURES.flatten(0, 1)
    torch.testing.assert_close(noisy.mean(0), clean.mean(0), atol=0.25, rtol=0)
    torch.testing.assert_close(noisy.std(0), clean.std(0), atol=0.15, rtol=0)
    z, e = (clean - clean.mean(0)) / clean.std(0), (noisy - noisy.mean(0)) / noisy.std(0)
    torch.testing.assert_close((z * e).mean(0), torch.full((4,), gate**0.5), atol=0.08, rtol=0)


def test_padding_does_not_enter_mean_and_deviation():
    mask = MASK.clone()
    mask[1, 100:] = False
    spoiled = FEATURES.masked_fill(~mask[..., None], 1e6)
    gate = torch.full((2, 500), 0.5)
    one, two = (throttle(features, mask, gate, rng())[mask] for features in (FEATURES, spoiled))
    assert torch.equal(one, two)


def test_the_denoiser_is_silent_at_first_and_always_for_open_gates():
    denoiser, noisy = Denoiser(4), random_scores(2, 5, 4)
    gate = torch.tensor([0.0, 0.3, 0.9, 1.0, 1.0]).expand(2, 5)
    assert torch.equal(denoiser(noisy, gate), noisy)
    torch.nn.init.normal_(denoiser.outer.weight, generator=rng())
    moved = (denoiser(noisy, gate) != noisy).any(-1)
    assert moved.tolist() == [[True, True, True, False, False]] * 2


@pytest.fixture(scope="module", params=["llava", "qwen3_vl"])
def small(request):
    """(vlm, batch of two) of a tiny family; the second gets features in early layers too."""
    family = tiny.load(request.param)
    vlm = vlms.wrap(family.model, family.processor)
    asked = [Example(str(i), image, "how many ?", ("yes",), "exact") for i, image in enumerate(family.images(2))]
    return vlm, build_bank(vlm, asked).batch([0, 1])


def loss_at(vlm, batch, scores, k):
    return noise_gate_loss(vlm, batch, scores, k, Denoiser(vlm.dim), rng())


def test_open_gates_are_the_clean_model(small):
    vlm, batch = small
    mask = batch.encoded.state.visual_mask
    scores, whole = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf), batch.encoded.state.counts
    found = loss_at(vlm, batch, scores, whole)
    plain = -teacher_forced(vlm, batch, mask).log_likelihood.mean()
    torch.testing.assert_close(found, plain, atol=1e-3, rtol=0)


def test_what_shut_tokens_show_is_not_told(small):
    """Shut tokens change places, which leaves mean and deviation as they are."""
    vlm, batch = small
    prompt, mask = batch.encoded.prompt, batch.encoded.state.visual_mask
    scores = torch.full(mask.shape, -40.0).masked_fill(~mask, -torch.inf)
    scores[:, 0] = 40.0
    order = torch.tensor([0, 3, 2, 1, *range(4, mask.shape[1])])
    deepstack = tuple(layer[:, order] for layer in prompt.deepstack)
    other = replace(batch.encoded, prompt=replace(prompt, visual=prompt.visual[:, order], deepstack=deepstack))
    assert len(prompt.deepstack) == (2 if vlm.model.config.model_type == "qwen3_vl" else 0)
    both = [replace(batch, encoded=encoded) for encoded in (batch.encoded, other)]
    one, two = (loss_at(vlm, b, scores, torch.tensor([1, 1])) for b in both)
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    one, two = (loss_at(vlm, b, scores, batch.encoded.state.counts) for b in both)
    assert (one - two).abs() > 1e-5  # where all gates are open, it is seen


def test_every_gate_and_the_denoiser_get_a_gradient(small):
    vlm, batch = small
    mask = batch.encoded.state.visual_mask
    scores = random_scores(*mask.shape).masked_fill(~mask, -torch.inf).requires_grad_()
    denoiser = Denoiser(vlm.dim)
    noise_gate_loss(vlm, batch, scores, torch.tensor([3, 3]), denoiser, rng()).backward()
    assert (scores.grad[mask] != 0).all()
    assert denoiser.outer.weight.grad.any()


# ---- PPO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, 1.2), (1.5, -1.0, -1.5), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8), (1.1, 2.0, 2.2), (0.9, -2.0, -1.8)],
)
def test_the_objective_is_clipped_where_it_would_gain_by_moving_on(ratio, advantage, expected):
    log_ratio = torch.tensor([ratio]).log().requires_grad_()
    gain = clipped_gain(log_ratio, torch.tensor([advantage]))
    assert float(gain.detach()) == pytest.approx(expected)
    gain.sum().backward()
    assert bool(log_ratio.grad == 0) == (abs(expected) != pytest.approx(ratio * abs(advantage)))


def test_on_the_drawing_policy_the_objective_has_the_gradient_of_the_expected_reward():
    scores, k, masks = random_scores(1, 4).requires_grad_(), torch.tensor([2]), every_mask(4)
    reward = random_scores(16, seed=1)
    logits = bernoulli.logits(scores, k).expand(16, 4)
    log_p = bernoulli.log_prob(logits, masks)
    p = log_p.exp()
    [expected] = torch.autograd.grad((p * reward).sum(), scores, retain_graph=True)
    [found] = torch.autograd.grad((p.detach() * clipped_gain(log_p - log_p.detach(), reward)).sum(), scores)
    torch.testing.assert_close(found, expected)


def test_the_advantage_of_one_step_is_generalised_advantage_estimation_in_units_of_its_deviation():
    reward, value, gamma, decay = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.2, 0.4, 0.6]), 0.99, 0.95
    rewards, values, ahead = reward[:, None], torch.stack([value, torch.zeros(3)], dim=1), torch.zeros(3)
    for step in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, step] + gamma * values[:, step + 1] - values[:, step]
        ahead = delta + gamma * decay * ahead
    torch.testing.assert_close(ahead, torch.tensor([0.8, -0.4, -0.1]))
    expected = (ahead - 0.1) / (0.26**0.5)
    torch.testing.assert_close(advantages(reward, value), expected, atol=1e-3, rtol=0)


def test_rewards_that_are_all_foreseen_have_no_advantage():
    assert not advantages(torch.tensor([0.3, 0.9]), torch.tensor([0.3, 0.9])).any()


def test_missing_the_budget_costs_on_either_side_and_at_most_one():
    kept = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    assert missed(kept, torch.tensor([2, 2, 1, 3, 2])).tolist() == [0.5, 0.5, 1, 1, 0]


def test_the_critic_does_not_read_padding(vlm, examples):
    critic = Critic(vlm.dim)
    state = vlm.encode(vlm.inputs([e.image for e in examples[:1]], [e.question for e in examples[:1]])).state
    wide = replace(
        state,
        question=torch.cat([state.question, 9 * random_scores(*state.question.shape)], dim=1),
        question_mask=torch.cat([state.question_mask, torch.zeros_like(state.question_mask)], dim=1),
    )
    k = torch.tensor([5])
    torch.testing.assert_close(critic(wide, k), critic(state, k))
    assert critic(state, torch.tensor([50])) != critic(state, k)


def test_ppo_finds_a_planted_token_and_keeps_the_budget():
    theta, k, generator = torch.zeros(1, 12, requires_grad=True), torch.full((64,), 3), rng()
    optimizer = torch.optim.SGD([theta], lr=2.0)
    for _ in range(150):
        with torch.no_grad():
            before = bernoulli.logits(theta.expand(64, 12), k)
            kept = bernoulli.sample(before, generator)
            old = bernoulli.log_prob(before, kept)
            gained = advantages(kept[:, 5].float() - missed(kept, k), torch.zeros(64))
        for _ in range(2):
            now = bernoulli.log_prob(bernoulli.logits(theta.expand(64, 12), k), kept)
            optimizer.zero_grad()
            (-clipped_gain(now - old, gained).mean()).backward()
            optimizer.step()
    p = bernoulli.logits(theta.detach(), k[:1]).sigmoid()[0]
    assert float(p[5]) > 0.9
    assert 2 < float(p.sum()) < 4


def test_epochs_below_one_are_refused():
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        PPOConfig(out=Path("nowhere"), epochs=0)


# ---- imitation -------------------------------------------------------------------------------------------------------

TEACHER = torch.tensor([[0.5, -0.1, 0.2, 0.3], [0.1, 0.6, 0.0, 0.0]])


def gradient(kind, k):
    scores = PADDED.clone().requires_grad_()
    imitation_loss(scores, torch.tensor(k), TEACHER, kind).backward()
    return scores.grad


def test_independent_imitation_pulls_each_token_towards_the_teachers_top_k():
    k = torch.tensor([2, 1])
    chosen = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]])
    p = bernoulli.logits(PADDED, k).sigmoid()
    torch.testing.assert_close(gradient("bernoulli", [2, 1]), (p - chosen) / k[:, None] / 2)


def test_distilling_attention_pulls_the_softmax_to_the_teacher_whatever_the_budget():
    share = torch.tensor([[0.5, 0, 0.2, 0.3], [1 / 7, 6 / 7, 0, 0]])
    expected = (PADDED.softmax(1) - share) / 2
    torch.testing.assert_close(gradient("distribution", [2, 1]), expected, atol=1e-5, rtol=0)
    assert torch.equal(gradient("distribution", [1, 2]), gradient("distribution", [2, 1]))


def test_the_warm_ups_imitation_is_likelihood_and_distribution_together():
    k = torch.tensor([1, 1])
    likelihood = (PADDED.softmax(1) - torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])) / 2  # a subset of one is a softmax
    expected = likelihood + gradient("distribution", [1, 1])
    torch.testing.assert_close(gradient("subset", k.tolist()), expected, atol=1e-5, rtol=0)


def test_a_rivals_imitation_is_not_mixed_with_a_relaxation():
    with pytest.raises(ValueError, match="imitation 'distribution' is a rival's whole training: give attention_share"):
        WarmupConfig(out=Path("nowhere"), imitation="distribution", attention_share=0.9)


# ---- companions ------------------------------------------------------------------------------------------------------


def test_a_seeded_network_is_the_same_again_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two, other = (seeded(seed, lambda: torch.nn.Linear(3, 3)) for seed in (1, 1, 2))
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), before)
