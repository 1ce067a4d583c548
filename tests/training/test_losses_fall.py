"""Training goes the right way: what is rewarded is kept, what is imitated is approached, and a loss falls."""

import copy
from functools import partial

import pytest
import torch
from toolkit.training import fresh_scorer

from grip_vlm import policy, rivals
from grip_vlm.rivals import grip_like, tprl
from grip_vlm.rivals.attention_distill import distribution_imitation
from grip_vlm.training import grpo
from grip_vlm.training.bank import build_bank
from grip_vlm.training.gates import Step
from grip_vlm.training.grpo_sets import gibbs_step
from grip_vlm.training.settings import GRPOConfig, WarmupConfig
from grip_vlm.training.warmup import answer_attention, minus_batch_mean, subset_imitation, warmup

PLANTED = 100
FEW = {"examples": 4, "dev_examples": 1, "steps": 6, "batch": 4, "dev_every": 99, "save_every": 99, "rate": 0.02}


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples[:4])


@pytest.fixture
def scorer(vlm):
    return fresh_scorer(vlm)


def last_weights(scorer, budgets):
    """A dev score that is the same for all weights, so that the last ones are returned."""
    return 0.0


def planted_reward(judges, mask, exact_only):
    """Reward and exact match of subsets, 1 where the planted token is kept."""
    reward = mask[..., PLANTED].float()
    return reward, reward


@torch.no_grad()
def lead(scorer, bank):
    """The planted token's importance over the mean of all tokens', in their deviations."""
    importance = scorer(bank.batch(range(4)).encoded.state, torch.full((4,), 20)).importance
    return float(((importance[:, PLANTED] - importance.mean(1)) / importance.std(1)).mean())


GRPO = {
    "sequential": grpo.train,
    "gibbs": partial(grpo.train, step=gibbs_step),
    "plackett_luce": partial(grpo.train, step=grpo.plackett_luce_step),
    "textbook": grip_like.train,
}


@pytest.mark.slow
@pytest.mark.parametrize("train", GRPO.values(), ids=GRPO)
def test_a_token_that_is_rewarded_becomes_more_important_than_the_others(train, vlm, scorer, bank, tmp_path):
    before = lead(scorer, bank)
    config = GRPOConfig(out=tmp_path / "run", budget="20", **FEW)
    train(vlm, scorer, bank, last_weights, config, reward=planted_reward)
    assert lead(scorer, bank) > before + 0.5


@pytest.mark.slow
def test_ppo_makes_a_token_that_is_rewarded_more_important_than_the_others(vlm, scorer, bank, tmp_path):
    before = lead(scorer, bank)
    config = tprl.Config(out=tmp_path / "run", budget="20", **{**FEW, "batch": 16})
    tprl.train(vlm, scorer, bank, last_weights, config, reward=planted_reward)
    assert lead(scorer, bank) > before + 0.5


@pytest.mark.parametrize("imitate", [subset_imitation, distribution_imitation, tprl.bernoulli_imitation])
def test_imitation_comes_closer_to_its_teacher(imitate, vlm, scorer, bank, tmp_path):
    batch, k = bank.batch(range(4)), torch.full((4,), 20)
    state = batch.encoded.state
    teacher = minus_batch_mean(answer_attention(vlm, batch), state.visual_mask)
    before = copy.deepcopy(scorer)
    config = WarmupConfig(out=tmp_path / "run", attention_share=1.0, budget="20", **FEW)
    warmup(vlm, scorer, bank, last_weights, config, imitate=imitate)
    with torch.no_grad():
        first, last = (imitate(model(state, k).importance, k, teacher) for model in (before, scorer))
    assert last < first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soft_topk", "st_gumbel", "dynamicvit", "noise_gate"])
def test_the_loss_of_a_relaxation_falls(name, vlm, scorer, bank, tmp_path):
    batch, k = bank.batch(range(4)), torch.full((4,), 20)
    relax = rivals.load(name).relaxation(vlm, 0)

    @torch.no_grad()
    def loss():
        scores = policy.discounted(scorer(batch.encoded.state, k))
        return float(relax.loss(Step(vlm, batch, scores, k, 0.5, relax.auxiliary, torch.Generator().manual_seed(0))))

    first = loss()
    config = WarmupConfig(out=tmp_path / "run", attention_share=0.0, budget="20", **{**FEW, "steps": 4, "batch": 2})
    warmup(vlm, scorer, bank, last_weights, config, relax=relax)
    assert loss() < first


@pytest.mark.parametrize(("name", "train"), GRPO.items(), ids=GRPO)
def test_the_sequential_policy_alone_learns_what_is_redundant(name, train, vlm, scorer, bank, tmp_path):
    """The keys start as the identity and aversion as a constant; what gets no gradient keeps its zeros."""
    config = GRPOConfig(out=tmp_path / "run", budget="20", **{**FEW, "steps": 2})
    train(vlm, scorer, bank, last_weights, config, reward=planted_reward)
    aversion, keys = scorer.head[-1].weight[1], scorer.keys.weight
    learned = [bool(aversion.any()), bool((keys - keys.diagonal().diag()).any())]
    assert learned == [name == "sequential"] * 2
