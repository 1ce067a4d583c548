"""What is shipped are the weights of the best dev score, the start among them, whether or not the run was killed."""

import math

import pytest
import torch
from safetensors.torch import load_file

from grip_vlm import checkpoint, policy
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.training.bank import build_bank
from grip_vlm.training.grpo import GRPOConfig
from grip_vlm.training.run import Run
from grip_vlm.training.warmup import WarmupConfig, warmup

FEW = {"examples": 4, "dev_examples": 1, "steps": 4, "batch": 2, "dev_every": 1, "save_every": 1}
KILL = None


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples[:4])


@pytest.fixture
def scorer(vlm):
    return fresh(vlm)


def fresh(vlm):
    torch.manual_seed(0)
    return Scorer(ScorerConfig(dim=vlm.dim, width=16))


@pytest.fixture
def ran(vlm, bank, tmp_path, monkeypatch):
    """Run four steps with these dev scores, of the start and of each step; returns the folder and all weights seen.
    `KILL` in place of a score ends the process there, and the same command goes on with what follows."""

    def run(name, scores):
        seen, left = [], iter(scores)

        def dev_score(vlm, scorer, *rest):
            if (score := next(left)) is KILL:
                raise KeyboardInterrupt
            seen.append({key: value.clone() for key, value in scorer.state_dict().items()})
            return score

        monkeypatch.setattr(training, "dev_score", dev_score)
        config = WarmupConfig(out=tmp_path / name, attention_share=1.0, **FEW)
        for _ in range(scores.count(KILL)):
            with pytest.raises(KeyboardInterrupt):
                warmup(vlm, fresh(vlm), bank, bank, config)
        best = warmup(vlm, fresh(vlm), bank, bank, config)
        assert next(left, "none") == "none"
        assert same(best.state_dict(), load_file(config.out / "scorer.safetensors"))
        return config.out, seen

    return run


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.2, 0.5, 0.3, 0.4], 2), ([0.1, 0.5, 0.5, 0.3, 0.4], 2), ([0.5, 0.1, 0.2, 0.3, 0.4], 0)],
    ids=["best", "later of equals", "start"],
)
def test_the_best_weights_are_saved_and_say_which_they_are(ran, scores, best):
    out, seen = ran("run", scores)
    saved, told = load_file(out / "scorer.safetensors"), checkpoint.read_notes(out)["provenance"]["settings"]
    assert [same(saved, weights) for weights in seen] == [step == best for step in range(5)]
    assert (told["best_step"], told["dev"]) == (best, 0.5)


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.5, 0.3, 0.4], [0.5, 0.1, 0.2, 0.3, 0.4]], ids=["best", "start"])
def test_a_killed_run_ends_with_the_best_weights_of_an_uninterrupted_one(ran, scores):
    whole, _ = ran("whole", scores)
    cut, _ = ran("cut", [*scores[:4], KILL, *scores[4:]])
    assert (whole / "scorer.safetensors").read_bytes() == (cut / "scorer.safetensors").read_bytes()
    one, two = (checkpoint.read_notes(out)["provenance"]["settings"] for out in (whole, cut))
    assert {**one, "out": ""} == {**two, "out": ""}


@pytest.mark.parametrize("wrong", ["loss", "gradient"])
def test_a_step_that_is_not_finite_says_so_and_moves_nothing(wrong, vlm, bank, scorer, tmp_path):
    run = Run(GRPOConfig(out=tmp_path / "run", **FEW), "grip", vlm, scorer, bank)
    weight = scorer.head[-1].bias
    before = {name: value.clone() for name, value in scorer.state_dict().items()}
    loss = weight.sum() * math.nan if wrong == "loss" else (weight * 0).abs().sum().sqrt()
    assert loss.isfinite() == (wrong == "gradient")
    with pytest.raises(FloatingPointError, match=r"grip diverged: loss .* try a lower --rate"):
        run.descend(loss)
    assert same(before, scorer.state_dict())


@pytest.mark.parametrize(("budget", "kept"), [("", {4, 10, 20}), ("0.05", {10})], ids=["all", "one"])
def test_a_run_for_one_budget_is_scored_at_that_budget_alone(budget, kept, vlm, bank, scorer, tmp_path, monkeypatch):
    asked, choose = set(), policy.choose

    def watched(scorer, state, k):
        asked.update(k.tolist())
        return choose(scorer, state, k)

    monkeypatch.setattr(sequential, "choose", watched)
    warmup(vlm, scorer, bank, bank, WarmupConfig(out=tmp_path / "run", budget=budget, attention_share=1.0, **FEW))
    assert asked == kept
