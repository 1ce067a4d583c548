"""docs/add-a-pruner.md stays true: its method, taken from the page, keeps the contract, and its commands run."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import test_pruners as contract
import test_rivals_features as features
import torch

from grip_vlm import cli, pruners, vlms

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "add-a-pruner.md").read_text()
NAME = "unlike_mean"
METHOD, BY_HAND = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The method of the page, found as if its file were in the folder of pruners."""
    assert NAME not in pruners.names(), "the guide's method is shipped now; the guide needs another"
    folder = tmp_path / "pruners"
    folder.mkdir()
    (folder / f"{NAME}.py").write_text(METHOD)
    monkeypatch.setattr(pruners, "__path__", [*pruners.__path__, str(folder)])
    yield NAME, lambda seed=0: pruners.load(NAME, seed=seed)
    sys.modules.pop(f"grip_vlm.pruners.{NAME}", None)
    vars(pruners).pop(NAME, None)


@pytest.fixture(scope="module")
def batch(vlm, examples):
    some = examples[:4]
    return vlm.encode(vlm.inputs([e.image for e in some], [e.question for e in some]))


def test_the_method_is_a_file_of_about_forty_lines_at_most():
    assert METHOD.startswith('"""Unlike the mean: ')
    assert METHOD.count("\n") <= 40


def test_the_method_keeps_the_contract_of_all_pruners(added, vlm, vlm_dir, batch, examples):
    contract.test_as_many_tokens_are_kept_as_the_budget_says(added, vlm, batch)
    contract.test_only_real_tokens_are_kept(added, vlm, batch)
    contract.test_the_same_tokens_are_kept_again(added, vlm, batch)
    contract.test_a_batch_keeps_what_single_runs_keep(added, vlm, batch, examples)
    contract.test_the_vlm_answers_from_what_is_kept(added, vlm, examples)
    contract.test_a_vlm_in_half_precision_is_pruned_too(NAME, vlm_dir, examples)
    contract.test_any_count_is_kept_exactly(NAME, 13, vlm, batch)


def test_the_method_keeps_the_contract_of_those_that_look_at_features(added):
    features.test_every_family_keeps_in_a_batch_what_it_keeps_alone("llava_next", NAME)
    features.test_an_impossible_count_is_refused(NAME, 4)
    features.test_one_token_of_one_is_kept_as_it_is(NAME)
    features.test_padding_has_no_say_whatever_is_in_it(NAME)
    features.test_equal_tokens_still_give_exactly_k(NAME)


def test_the_case_worked_by_hand_is_right(added):
    page = {"torch": torch, "select": features.select}
    exec(compile(BY_HAND, "add-a-pruner.md", "exec"), page)
    page[f"test_{NAME}_by_hand"]()


@pytest.mark.skipif("tiny-llava" not in vlms.shipped(), reason="no VLM is shipped yet")
def test_the_commands_of_the_guide_run_as_they_stand(added, tmp_path, monkeypatch):
    """With one item per task."""
    monkeypatch.chdir(tmp_path)
    lines = [line for line in GUIDE.splitlines() if line.startswith("grip-vlm")]
    assert [line.split()[1] for line in lines] == ["evaluate", "pareto"]
    for line in lines:
        cli.main([*shlex.split(line)[1:], *(["--limit", "1"] if "evaluate" in line else [])])
    assert NAME in Path("report/report.md").read_text()


def test_files_and_lists_that_the_guide_names_are_there():
    tests = "".join(path.read_text() for path in ROOT.glob("tests/*.py"))
    for name in re.findall(r"`(_?\w+\.py)`", GUIDE):
        assert any(ROOT.glob(f"{folder}/{name}") for folder in ("src/grip_vlm/pruners", "tests", "recipes")), name
    for name in re.findall(r"`([A-Z_]{3,})`", GUIDE):
        assert f"{name} = [" in tests or name == "UNTRAINED", name
    for part in re.findall(r"^\| `(.*?)` \|", GUIDE, re.MULTILINE):
        for test in re.split(r"`, `", part):
            assert test.rstrip(".") in tests, test
