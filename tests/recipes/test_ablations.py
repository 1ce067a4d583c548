"""The recipe of the ablations: every line can be trained, what compare.py trains stays there, transfer is one run."""

from dataclasses import replace
from pathlib import Path

import pytest

import ablations
import two_vlms
from ablations import ABLATIONS, STAGES, TASKS, Ablated, Ablations
from compare import PLAN, SHAPE, Compare, Field
from grip_vlm import checkpoint
from grip_vlm.evaluation.rows import Row
from grip_vlm.training.bank import build_bank
from grip_vlm.training.dev import DevSet

LINES = ABLATIONS | STAGES


def quick(plan):
    """The same trainings, in one step."""
    return {
        name: replace(training, settings={**training.settings, "steps": 1, "batch": 2})
        for name, training in plan.items()
    }


@pytest.fixture
def ours(vlm, examples, tmp_path):
    """One step instead of hundreds, on a random VLM."""
    bank = build_bank(vlm, examples[:4])
    banks = bank, DevSet(bank)
    base = Field(Compare(runs=tmp_path / "compare"), vlm, lambda data, label_free: banks, quick(PLAN))
    return Ablated(Compare(runs=tmp_path / "ablations"), vlm, base.banks, quick(LINES), base=base)


@pytest.mark.parametrize("name", LINES)
def test_every_line_has_a_start_and_settings_that_its_training_takes(name):
    training = LINES[name]
    assert training.start in {"", *PLAN, *LINES}
    settings = {key: value for key, value in training.settings.items() if key not in SHAPE}
    assert training.config(out=Path("nowhere"), **settings)
    assert set(training.settings) & set(SHAPE) == set() or not training.start


@pytest.mark.parametrize("task", TASKS)
def test_transfer_trains_both_stages_on_the_other_five(task):
    for name in (f"all but {task}", f"all but {task} stage1"):
        assert sorted([task, *LINES[name].settings["data"].split(",")]) == TASKS


@pytest.mark.slow
def test_a_blind_scorer_is_blind_in_both_stages(ours, vlm):
    ours.scorer("budget-blind", 0)
    for name in ("budget-blind stage1", "budget-blind"):
        assert checkpoint.load(ours.folder(name, 0), vlm).config.blind_to == "budget"


def test_without_a_warm_up_a_new_scorer_goes_straight_to_grpo(ours):
    folder = ours.scorer("no warm-up", 0)
    assert checkpoint.read_notes(folder)["provenance"]["method"] == "grip"
    assert not ours.base.trained
    assert set(ours.trained) == {folder.name}


@pytest.mark.slow
def test_what_compare_trains_stays_in_its_folder(ours, tmp_path):
    assert ours.scorer("no anchor", 0) == tmp_path / "ablations" / "no_anchor-0"
    assert (tmp_path / "compare" / "stage1-0" / "scorer.json").is_file()
    assert not (tmp_path / "ablations" / "stage1-0").exists()


def test_transfer_tests_each_task_with_the_scorer_that_has_not_seen_it_and_is_one_training_per_seed(tmp_path):
    tested = []
    blank = dict.fromkeys(("vlm", "item", "budget", "prediction", "target", "commit", "torch", "transformers"), "")
    row = Row(**blank, pruner="", checkpoint="", benchmark="", tokens=1, kept=1, score=1, seconds=1, seed=0, device="")

    class Recorder:
        def scorer(self, name, seed):
            folder = tmp_path / f"{name}-{seed}"
            folder.symlink_to(checkpoint.locate("tiny-llava"))
            return folder

        def test(self, methods, seed, budgets, names):
            tested.append((methods["transfer"].checkpoint.rpartition("@")[0], names, seed))
            return [replace(row, checkpoint=methods["transfer"].checkpoint, benchmark=names[0])]

    rows = ablations.transfer(Recorder(), (0, 1))
    assert tested == [(str(tmp_path / f"all but {task}-{seed}"), [task], seed) for task in TASKS for seed in (0, 1)]
    runs = {(row.checkpoint, row.benchmark) for row in rows}
    assert runs == {(f"transfer@{seed}", task) for task in TASKS for seed in (0, 1)}


def test_an_unknown_ablation_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"--only takes some of no warm-up, .*, transfer, crowded"):
        Ablations(only=("no training",))


@pytest.mark.slow
def test_two_vlms_start_from_the_stage_1_of_compare_and_both_judge(ours, vlm):
    bank, _ = ours.banks("scenes", False)
    folder = two_vlms.trained(ours.base, bank, 0)
    assert folder == ours.base.compare.runs / "two_vlms-0"
    assert set(ours.base.trained) == {"stage1-0"}
    assert checkpoint.read_notes(folder)["provenance"]["settings"]["others"] == [vlm.fingerprint()]
