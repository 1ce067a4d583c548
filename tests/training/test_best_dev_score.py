"""What is saved are the weights of the best dev score, the start among them, whether or not the run was killed."""

import pytest
from safetensors.torch import load_file
from toolkit.training import fresh_scorer, same_weights

from grip_vlm import checkpoint
from grip_vlm.training.bank import build_bank
from grip_vlm.training.dev import DevSet
from grip_vlm.training.run import DEV_BUDGETS
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import warmup

FEW = {"examples": 4, "dev_examples": 1, "steps": 4, "batch": 2, "dev_every": 1, "save_every": 1}
KILL = None


@pytest.fixture(scope="module")
def bank(vlm, examples):
    return build_bank(vlm, examples[:4])


@pytest.fixture
def run(vlm, bank, tmp_path):
    """Run four steps with these dev scores, of the start and of each step; returns the folder and all weights seen.
    `KILL` in place of a score ends the process there, and the same command goes on with what follows."""

    def ran(name, scores):
        seen, left = [], iter(scores)

        def dev_score(scorer, budgets):
            if (score := next(left)) is KILL:
                raise KeyboardInterrupt
            seen.append({key: value.clone() for key, value in scorer.state_dict().items()})
            return score

        config = WarmupConfig(out=tmp_path / name, attention_share=1.0, **FEW)
        for _ in range(scores.count(KILL)):
            with pytest.raises(KeyboardInterrupt):
                warmup(vlm, fresh_scorer(vlm), bank, dev_score, config)
        best = warmup(vlm, fresh_scorer(vlm), bank, dev_score, config)
        assert next(left, "none") == "none"
        assert same_weights(best.state_dict(), load_file(config.out / "scorer.safetensors"))
        return config.out, seen

    return ran


def settings_in(folder):
    return checkpoint.read_notes(folder)["provenance"]["settings"]


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.2, 0.5, 0.3, 0.4], 2), ([0.1, 0.5, 0.5, 0.3, 0.4], 2), ([0.5, 0.1, 0.2, 0.3, 0.4], 0)],
    ids=["best", "later of equals", "start"],
)
def test_the_best_weights_are_saved_with_their_step_and_score(run, scores, best):
    out, seen = run("run", scores)
    saved = load_file(out / "scorer.safetensors")
    assert [same_weights(saved, weights) for weights in seen] == [step == best for step in range(5)]
    assert (settings_in(out)["best_step"], settings_in(out)["dev"]) == (best, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.5, 0.3, 0.4], [0.5, 0.1, 0.2, 0.3, 0.4]], ids=["best", "start"])
def test_a_killed_run_ends_with_the_best_weights_of_an_uninterrupted_one(run, scores):
    whole, _ = run("whole", scores)
    cut, _ = run("cut", [*scores[:4], KILL, *scores[4:]])
    assert (whole / "scorer.safetensors").read_bytes() == (cut / "scorer.safetensors").read_bytes()
    one, two = settings_in(whole), settings_in(cut)
    assert {**one, "out": ""} == {**two, "out": ""}


@pytest.mark.parametrize(("budget", "scored"), [("", DEV_BUDGETS), ("0.05", ("0.05",))], ids=["all", "one"])
def test_a_run_for_one_budget_is_scored_at_that_budget_alone(budget, scored, vlm, bank, tmp_path):
    seen = []

    def dev_score(scorer, budgets):
        seen.append(tuple(budgets))
        return 0.0

    config = WarmupConfig(out=tmp_path / "run", budget=budget, attention_share=1.0, **FEW)
    warmup(vlm, fresh_scorer(vlm), bank, dev_score, config)
    assert seen == [scored] * 5


@pytest.mark.parametrize(("budgets", "kept"), [(DEV_BUDGETS, {4, 10, 20}), (("0.05",), {10})], ids=["all", "one"])
def test_a_dev_set_scores_subsets_of_its_budgets(budgets, kept, vlm, bank):
    scorer, asked = fresh_scorer(vlm), set()
    scorer.register_forward_pre_hook(lambda _, given: asked.update(given[1].tolist()))
    DevSet(bank)(scorer, budgets)
    assert asked == kept
