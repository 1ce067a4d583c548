"""Rules of k under one guarantee: how many tokens does each need to keep the accuracy, and does the guarantee hold?

    python recipes/auto_budget.py              two cores: half an hour for the answers, five minutes for all else

1. Every test question is answered from all tokens and from each k of GRID by the same scorer. All later steps are
   arithmetic on these rows. A stopped run resumes with the same command.
2. Every rule rates how adequate k tokens are, for every question (`auto_budget_curves.py`).
3. The questions are split at random into calibration and test, many times (`auto_budget_splits.py`), and the results
   written to OUT/auto-budget.md and OUT/auto-budget/ (`auto_budget_report.py`).

The scorer was trained on other scenes, those of the split `train`, and so was the head that predicts how much is
enough. Rivals that have a setting get the one that is best for them on these very questions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from safetensors.torch import load_file

from auto_budget_curves import Curves, curves
from auto_budget_report import write
from auto_budget_splits import Sweep
from grip_vlm import benchmarks, calibration, checkpoint, pruners, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import Row, write_packed
from grip_vlm.sufficiency import Head
from grip_vlm.vlms import FrozenVLM

GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)  # and all tokens, the pruner `full`


@dataclass(frozen=True)
class AutoBudget:
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    scorer: str = "tiny-llava"
    """A shipped scorer or the folder of one, calibrated, so that a head is beside it."""
    head: Path | None = None
    """A head that is not in the scorer's folder: its weights (`sufficiency.Head`) as safetensors."""
    runs: Path = Path("runs/auto-budget")
    """Folder for the rows and the encoded questions, from which a stopped run resumes."""
    out: Path = Path("results")
    """Folder for auto-budget.md and auto-budget/."""
    limit: int = 600
    """Test items per benchmark."""
    crowded: int = 300
    """Items per crowded benchmark; 0 leaves them out."""
    splits: int = 500
    """Random splits into calibration and test."""


def parts(told: AutoBudget) -> list[tuple[str, int]]:
    """(benchmark, items) of the test split and of crowded scenes."""
    names = benchmarks.composed()
    crowded = [(f"{name}:{benchmarks.CROWDED}", told.crowded) for name in names] if told.crowded else []
    return [(name, told.limit) for name in names] + crowded


def answered(vlm: FrozenVLM, told: AutoBudget) -> list[Row]:
    """Answers from all tokens and from every k of GRID."""
    methods = {"full": pruners.load("full"), "grip": pruners.load("grip", scorer=told.scorer)}
    budgets = [Budget(tokens=k) for k in GRID]
    rows = []
    for name, limit in parts(told):
        rows += evaluate(vlm, methods, [open_items(name)], budgets, told.runs / "rows.jsonl", limit=limit)
        print(f"{name}: {limit} items answered", flush=True)
    return rows


def swept(rows: list[Row], name: str) -> Sweep:
    """The rows of one benchmark as a table, items in their order.

    Raises:
        ValueError: the questions differ in their number of visual tokens.
    """
    of_name = [row for row in rows if row.benchmark == name]
    items = list(dict.fromkeys(row.item for row in of_name))
    tokens = {row.tokens for row in of_name}
    if len(tokens) > 1:
        raise ValueError(f"the questions have {sorted(tokens)} visual tokens; this recipe needs the same number in all")
    ks = np.array([*GRID, *tokens])
    by_job = {(row.item, row.kept): row.score for row in of_name}
    scores = np.array([[by_job[item, k] for k in ks] for item in items])
    return Sweep(np.array(items), np.array([name] * len(items)), ks, scores)


def read_head(path: Path | None) -> Head | None:
    """The head in a file, None without one."""
    if path is None:
        return None
    weights = load_file(path)
    hidden, twice_width = weights["inner.weight"].shape
    head = Head(twice_width // 2, hidden)
    head.load_state_dict(weights)
    return head.eval()


def main(told: AutoBudget) -> None:
    vlm = vlms.load(told.vlm)
    folder = checkpoint.locate(told.scorer)
    scorer, head = checkpoint.load(folder, vlm), read_head(told.head) or calibration.load(folder, vlm).head
    rows = answered(vlm, told)
    gathered: dict[str, tuple[Sweep, Curves]] = {}
    for name, limit in parts(told):
        sweep = swept(rows, name)
        gathered[name] = sweep, curves(vlm, scorer, head, name, limit, sweep.ks, told.runs)
        print(f"{name}: curves of {limit} items", flush=True)
    write_packed(told.out / "auto-budget" / "rows.jsonl.gz", rows)
    write(gathered, told.splits, told.out)


if __name__ == "__main__":
    main(tyro.cli(AutoBudget))
