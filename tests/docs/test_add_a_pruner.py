"""docs/add-a-pruner.md stays true: in a copy of the repository that follows it, its tests pass and its commands run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grip_vlm import pruners, vlms

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "add-a-pruner.md").read_text()
NAME = "unlike_mean"
METHOD, BY_HAND = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Package and tests with what the page adds."""
    assert NAME not in pruners.names(), "the guide's method is shipped now; the guide needs another"
    folder = tmp_path_factory.mktemp("copy")
    unneeded = shutil.ignore_patterns("assets", "__pycache__")
    for part in ("src/grip_vlm", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=unneeded)
    for part in ("src/grip_vlm/assets", "recipes", "pyproject.toml"):
        (folder / part).symlink_to(ROOT / part)
    (folder / "src/grip_vlm/pruners/methods" / f"{NAME}.py").write_text(METHOD)
    tests = folder / "tests/pruners/test_feature_methods.py"
    listed = tests.read_text().replace("FEATURES = [", f'FEATURES = ["{NAME}", ')
    assert NAME in listed
    tests.write_text(f"{listed}\n\n{BY_HAND}")
    return folder


def run(command, folder):
    """What one line of the page prints."""
    program, *arguments = shlex.split(command)
    module = {"python": [], "grip-vlm": ["-m", "grip_vlm.cli"]}[program]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env = {**outside, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *module, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_method_is_a_file_of_about_forty_lines_at_most():
    assert METHOD.startswith('"""Unlike the mean: ')
    assert METHOD.count("\n") <= 40


@pytest.mark.slow
def test_the_method_keeps_the_contract_and_its_case_worked_by_hand_is_right(copy):
    (command,) = [line for line in COMMANDS if line.startswith("python -m pytest")]
    printed = run(f"{command} -vv", copy)
    passed = re.findall(rf"::(test_\w+)\S*{NAME}\S* PASSED|::(test_{NAME}_by_hand) PASSED", printed)
    names = {"".join(name) for name in passed}
    assert f"test_{NAME}_by_hand" in names
    for name in (
        "test_as_many_tokens_are_kept_as_the_budget_says",
        "test_any_count_is_kept_exactly",
        "test_only_real_tokens_are_kept",
        "test_the_same_tokens_are_kept_again",
        "test_a_batch_keeps_what_single_runs_keep",
        "test_the_vlm_answers_from_what_is_kept",
        "test_a_vlm_in_half_precision_is_pruned_too",
        "test_every_family_keeps_in_a_batch_what_it_keeps_alone",
        "test_an_impossible_count_is_refused",
        "test_one_token_of_one_is_kept_as_it_is",
        "test_padding_has_no_say_whatever_is_in_it",
        "test_equal_tokens_still_give_exactly_k",
    ):
        assert name in names, name


@pytest.mark.slow
@pytest.mark.skipif("tiny-llava" not in vlms.shipped(), reason="no VLM is shipped yet")
def test_the_commands_of_the_guide_run_as_they_stand(copy):
    """With one item per task."""
    lines = [line for line in COMMANDS if line.startswith("grip-vlm")]
    assert [line.split()[1] for line in lines] == ["evaluate", "pareto"]
    for line in lines:
        run(line + (" --limit 1" if "evaluate" in line else ""), copy)
    assert NAME in (copy / "report/report.md").read_text()


def test_files_and_lists_that_the_guide_names_are_there():
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    places = ("src/grip_vlm/pruners/methods", "tests", "tests/*", ".")
    for name in set(re.findall(r"`([\w/]+\.py)`", GUIDE)) - {"rivals/NAME.py"}:
        assert NAME in name or any(list(ROOT.glob(f"{place}/{name}")) for place in places), name
    for name in re.findall(r"`([A-Z_]{3,})`", GUIDE):
        assert f"{name} = [" in tests or name == "UNTRAINED", name
    for part in re.findall(r"^\| `(.*?)` \|", GUIDE, re.MULTILINE):
        for test in re.split(r"`, `", part):
            assert test.rstrip(".") in tests, test
