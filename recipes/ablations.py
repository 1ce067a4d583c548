"""Ablations: remove one part of the method at a time, at equal training compute.

    python recipes/compare.py                     first: stage 1, grip and warmup of three seeds are taken from it
    python recipes/ablations.py                   all of it
    python recipes/ablations.py --only "no anchor" --seeds 0

- grip itself has groups of 8. `no RL` is compare.py's warmup: stage 1 with all the time.
- A blind scorer has a stage 1 of its own. So has `narrow`, a scorer of a third of the width.
- `ordered` samples by importance alone (Plackett-Luce). `sets` samples from the Gibbs distribution over sets.
- `transfer` trains on five tasks and tests on the sixth, for each of the six.
- `crowded` trains nothing. It tests grip and warmup on scenes with more things and smaller shapes than any in training.
  The frozen VLM was not trained on such scenes either, so `of full` is the number to read there.

Minutes of one core per seed, tests included: 8 for a line without a stage 1 of its own; 14 for a line with one and for
`no warm-up`; 80 for `transfer` (six such trainings, and six times 6000 images to encode); 10 for `crowded`; 204 in all.
These are estimates from compare.py, whose stage 1 and GRPO take 6 each.

A stopped run resumes with the same command. Results are written after every name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from compare import PLAN, STAGE1, Compare, Field, encoder, grip, stage1
from grip_vlm import benchmarks, pruners, report, vlms
from grip_vlm.evaluation.rows import Row, write_folder
from grip_vlm.files import write_text
from grip_vlm.pruners import Pruner
from grip_vlm.report.tables import Table, markdown
from grip_vlm.training.grpo import plackett_luce_step
from grip_vlm.training.grpo_sets import gibbs_step

GRIP = PLAN["grip"].settings
TASKS = benchmarks.composed()
OTHERS = {task: ",".join(name for name in TASKS if name != task) for task in TASKS}

# A step costs about as much as 4 + group subsets (docs/log.md has the seconds of runs with more epochs, and without an
# anchor). That sets the steps for other group sizes. `no warm-up` gets the time of stage 1 too. It has no
# anchor, because its start has random weights.
ABLATIONS = {
    "no warm-up": grip("", steps=365, anchor=0.0),
    "sets": grip(step=gibbs_step, **GRIP),
    "ordered": grip(step=plackett_luce_step, **GRIP),
    "ordered, exact reward": grip(step=plackett_luce_step, reward="exact", **GRIP),
    "exact reward": grip(reward="exact", **GRIP),
    "no anchor": grip(anchor=0.0, **GRIP),
    "group 2": grip(steps=400, group=2),
    "group 4": grip(steps=300, group=4),
    "group 16": grip(steps=120, group=16),
    "budget-blind": grip("budget-blind stage1", **GRIP),
    "question-blind": grip("question-blind stage1", **GRIP),
    "narrow": grip("narrow stage1", **GRIP),
}
STAGES = {
    "budget-blind stage1": stage1(**STAGE1, blind_to="budget"),
    "question-blind stage1": stage1(**STAGE1, blind_to="question"),
    "narrow stage1": stage1(**STAGE1, width=32),
    **{f"all but {task} stage1": stage1(**STAGE1, data=data) for task, data in OTHERS.items()},
    **{f"all but {task}": grip(f"all but {task} stage1", **GRIP, data=data) for task, data in OTHERS.items()},
}
NAMES = (*ABLATIONS, "transfer", "crowded")
UNTRAINED = ("full", "random", "cls_attention", "divprune")
BUDGETS = ("0.01", "0.02", "0.05", "0.1")


@dataclass(frozen=True)
class Ablations:
    only: tuple[str, ...] = NAMES
    """Names of the ablations to run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    compared: Path = Path("runs/compare")
    """Folder with the runs of recipes/compare.py."""
    runs: Path = Path("runs/ablations")
    """Folder for the runs of this recipe."""
    out: Path = Path("results")
    """Folder for ablations.md and ablations/rows."""
    examples: int = 6000
    """Training examples."""
    limit: int = 300
    """Test items per benchmark."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.only if name not in NAMES]
        if unknown or not self.only or not self.seeds:
            raise ValueError(f"--only takes some of {', '.join(NAMES)}, and --seeds one at least; got {self}")


@dataclass
class Ablated(Field):
    """Trains what compare.py does not train. `base` gives the scorers that it does."""

    base: Field | None = None

    def scorer(self, name: str, seed: int) -> Path:
        if self.base and name in self.base.plan:
            return self.base.scorer(name, seed)
        return super().scorer(name, seed)


def references(field: Field, seeds: Sequence[int], names: Sequence[str] = ()) -> list[Row]:
    """Rows of the methods that all ablations are compared with."""
    rows = field.test({name: pruners.load(name) for name in UNTRAINED}, 0, BUDGETS, names)
    for seed in seeds:
        scorers = {name: field.scorer(name, seed) for name in ("grip", "warmup")}
        found = field.test({name: pruners.load(name, scorer=at) for name, at in scorers.items()}, seed, BUDGETS, names)
        rows += [replace(row, pruner="no RL") if row.pruner == "warmup" else row for row in found]
    return rows


def transfer(ours: Field, seeds: Sequence[int]) -> list[Row]:
    """Rows of every task, by the scorer that was not trained on it. The six scorers of a seed count as one training."""
    rows: list[Row] = []
    for task in TASKS:
        for seed in seeds:
            found = ours.test({"transfer": trained(ours, f"all but {task}", seed)}, seed, BUDGETS, [task])
            rows += [replace(row, checkpoint=f"transfer@{seed}") for row in found]
    return rows


def trained(ours: Field, name: str, seed: int) -> Pruner:
    return pruners.load("grip", scorer=ours.scorer(name, seed))


def write(rows: list[Row], crowded: list[Row], trained: dict[str, dict[str, Any]], out: Path) -> None:
    """Write all rows, and three tables: the test items, the crowded test items, and the cost of the trainings."""
    write_folder(out / "rows", rows + crowded)
    text = f"# Test items\n\n{report.table(rows, timed=False)}"
    if crowded:
        text += f"\n# Crowded test items\n\n{report.table(crowded, timed=False)}"
    took = [
        [name, f"{of['steps']}", f"{of['seconds']:.0f}", f"{100 * of['dev']:.1f}", f"{of['best_step']}"]
        for name, of in trained.items()
    ]
    text += f"\n# Trainings\n\n{markdown(Table(['scorer and seed', 'steps', 'seconds', 'dev', 'best step'], took))}"
    write_text(out.with_suffix(".md"), text)
    print(text)


def main(ablations: Ablations) -> None:
    vlm, seeds = vlms.load(ablations.vlm), ablations.seeds
    common = {"vlm": ablations.vlm, "out": ablations.out, "examples": ablations.examples, "limit": ablations.limit}
    compare = Compare(seeds=seeds, runs=ablations.compared, **common)
    base = Field(compare, vlm, encoder(vlm, compare))
    ours = Ablated(replace(compare, runs=ablations.runs), vlm, base.banks, {**ABLATIONS, **STAGES}, base=base)
    rows, crowded = references(base, seeds), []
    for name in ablations.only:
        if name == "crowded":
            crowded = references(ours, seeds, [f"{task}:{benchmarks.CROWDED}" for task in TASKS])
        elif name == "transfer":
            rows += transfer(ours, seeds)
        else:
            for seed in seeds:
                rows += ours.test({name: trained(ours, name, seed)}, seed, BUDGETS)
        write(rows, crowded, base.trained | ours.trained, ablations.out / "ablations")


if __name__ == "__main__":
    main(tyro.cli(Ablations))
