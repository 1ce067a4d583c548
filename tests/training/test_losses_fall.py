"""Training goes downhill: what is paid for is kept, what is imitated is approached, and a loss falls."""

import copy

import pytest
import torch

from grip_vlm import policy
from grip_vlm.rivals import tprl
from grip_vlm.scorer import Scorer, ScorerConfig, Scores
from grip_vlm.training import grpo, grpo_sets
from grip_vlm.training import warmup as stage_one
from grip_vlm.training.bank import build_bank
from grip_vlm.training.grpo import GRPOConfig, drawn_by
from grip_vlm.training.run import Run, schedule
from grip_vlm.training.warmup import WarmupConfig, answer_attention, beyond_habit, imitation_loss, relaxed_loss, warmup

PLANTED = 100
FEW = {"examples": 4, "dev_examples": 1, "steps": 6, "batch": 4, "dev_every": 99, "save_every": 99, "rate": 0.02}


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples[:4])


@pytest.fixture(scope="module")
def dev(vlm, examples):
    return build_bank(vlm, examples[:1])


@pytest.fixture
def scorer(vlm):
    torch.manual_seed(0)
    return Scorer(ScorerConfig(dim=vlm.dim, width=16))


def pays(mask):
    """Reward and exact match of subsets, 1 where the planted token is kept."""
    reward = mask[..., PLANTED].float()
    return reward, reward


@torch.no_grad()
def lead(scorer, bank):
    """The planted token's importance over the mean of all tokens', in their deviations."""
    importance = scorer(bank.batch(range(4)).encoded.state, torch.full((4,), 20)).importance
    return float(((importance[:, PLANTED] - importance.mean(1)) / importance.std(1)).mean())


@pytest.mark.parametrize("policy", ["sequential", "gibbs", "plackett_luce", "textbook"])
def test_a_token_that_is_paid_for_becomes_more_important_than_the_others(
    policy, vlm, scorer, bank, dev, tmp_path, monkeypatch
):
    for module in (grpo, grpo_sets, grpo_ordered):
        monkeypatch.setattr(module, "mean_reward", lambda judges, mask, exact_only: pays(mask))
    before = lead(scorer, bank)
    grpo.train(vlm, scorer, bank, dev, GRPOConfig(out=tmp_path / "run", policy=policy, budget="20", **FEW))
    assert lead(scorer, bank) > before + 0.5


def test_ppo_makes_a_token_that_is_paid_for_more_important_than_the_others(
    vlm, scorer, bank, dev, tmp_path, monkeypatch
):
    monkeypatch.setattr(ppo, "group_reward", lambda vlm, batch, mask, exact_only: pays(mask))
    before = lead(scorer, bank)
    tprl.train(vlm, scorer, bank, dev, tprl.PPOConfig(out=tmp_path / "run", budget="20", **{**FEW, "batch": 16}))
    assert lead(scorer, bank) > before + 0.5


@pytest.mark.parametrize("kind", ["subset", "distribution", "bernoulli"])
def test_imitation_comes_closer_to_its_teacher(kind, vlm, scorer, bank, dev, tmp_path):
    batch, k = bank.batch(range(4)), torch.full((4,), 20)
    state = batch.encoded.state
    teacher = beyond_habit(answer_attention(vlm, batch), state.visual_mask)
    before, after = copy.deepcopy(scorer), scorer
    share = {"attention_share": 1.0, "imitation": kind, "budget": "20"}
    warmup(vlm, after, bank, dev, WarmupConfig(out=tmp_path / "run", **share, **FEW))
    with torch.no_grad():
        first, last = (imitation_loss(model(state, k).importance, k, teacher, kind) for model in (before, after))
    assert last < first


@pytest.mark.parametrize("kind", ["soft_topk", "st_gumbel", "dynamicvit", "noise_gate"])
def test_the_loss_of_a_relaxation_falls(kind, vlm, scorer, bank, dev, tmp_path, monkeypatch):
    batch, k = bank.batch(range(4)), torch.full((4,), 20)
    runs, first = [], []

    @torch.no_grad()
    def loss(run):
        scores = policy.discounted(run.score(batch.encoded.state, k))
        return float(relaxed_loss(run, batch, scores, k, kind, 0.5, torch.Generator().manual_seed(0)))

    def watched(*given, **named):
        runs.append(Run(*given, **named))
        first.append(loss(runs[0]))
        return runs[0]

    monkeypatch.setattr(stage_one, "Run", watched)
    share = {"attention_share": 0.0, "relaxation": kind, "budget": "20"}
    warmup(vlm, scorer, bank, dev, WarmupConfig(out=tmp_path / "run", **share, **{**FEW, "steps": 4, "batch": 2}))
    assert loss(runs[0]) < first[0]


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 20), (9, 1 / 2), (19, 1), (200, 0.525), (399, 0.05)])
def test_the_learning_rate_rises_for_twenty_steps_and_falls_on_a_cosine_to_a_twentieth(step, share):
    assert schedule(step, 400) == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize("policy", ["sequential", "gibbs", "plackett_luce", "textbook"])
def test_plackett_luce_alone_is_drawn_without_aversion(policy, tmp_path):
    scores = Scores(torch.rand(2, 5), torch.rand(2, 5) + 1, torch.rand(2, 5, 3))
    drawn = drawn_by(GRPOConfig(out=tmp_path, policy=policy), scores)
    assert torch.equal(drawn.aversion, torch.zeros(2, 5) if policy == "plackett_luce" else scores.aversion)
    assert torch.equal(drawn.importance, scores.importance)
    assert torch.equal(drawn.keys, scores.keys)
