"""Train our method and every trained rival at equal compute, then test all pruners on the locked test split.

    python recipes/compare.py                three seeds; --seeds 0 for one

Every training and every row is kept, so a stopped run resumes with the same command. results/README.md names the
hardware. Equal compute: with the steps in PLAN, every method takes about the same seconds on two cores. The measured
seconds are written to OUT/training.json.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import tyro

from grip_vlm import benchmarks, checkpoint, pruners, report, rivals, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import Row, write_folder
from grip_vlm.files import write_text
from grip_vlm.pruners import Pruner
from grip_vlm.rivals import tprl
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.training.bank import Bank
from grip_vlm.training.dev import DevSet, load_banks
from grip_vlm.training.grpo import GRPOStep, sequential_step
from grip_vlm.training.grpo import train as train_grpo
from grip_vlm.training.settings import GRPOConfig, RunConfig, WarmupConfig
from grip_vlm.training.warmup import warmup
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Training:
    """How one scorer is trained."""

    start: str
    """The training whose scorer it starts from; empty for a new scorer."""
    train: Callable[..., Scorer]
    """(vlm, scorer, bank, dev score, config) -> scorer"""
    config: type[RunConfig]
    settings: dict[str, Any]
    """Settings of the config. `width` and `blind_to` are settings of a new scorer."""


def stage1(**settings: Any) -> Training:
    return Training("", warmup, WarmupConfig, settings)


def grip(start: str = "stage1", step: GRPOStep = sequential_step, **settings: Any) -> Training:
    return Training(start, partial(train_grpo, step=step), GRPOConfig, settings)


def rival(name: str, start: str = "stage1", **settings: Any) -> Training:
    return Training(start, rivals.load(name).train, rivals.load(name).Config, settings)


STAGE1 = {"steps": 750, "looked": 4800, "attention_share": 0.98}
# The trainings of each method, including those it starts from. Each method costs about the same in total.
PLAN = {
    "stage1": stage1(**STAGE1),
    "grip": grip(steps=200),
    "grip_like": rival("grip_like", steps=215),
    "warmup": stage1(**{**STAGE1, "steps": 1700}),
    # The learning rates were chosen on the dev items of seed 0 (docs/log.md).
    "soft_topk": rival("soft_topk", steps=180, rate=1e-4),
    "st_gumbel": rival("st_gumbel", steps=200, rate=3e-4),
    "dynamicvit": rival("dynamicvit", steps=200, rate=3e-4),
    "noise_gate": rival("noise_gate", steps=215, rate=1e-4),
    "attention_distill": rival("attention_distill", "", steps=2500, looked=4800),
    "tprl_start": Training("", tprl.train_start, tprl.StartConfig, {"steps": 1000, "looked": 4800}),
    "tprl": rival("tprl", "tprl_start", steps=165),
}
# grip is one scorer for all budgets, trained with labels. Each variant changes one of the two.
VARIANTS = {
    **{f"grip only {budget}": grip(steps=200, budget=budget) for budget in ("0.02", "0.05", "0.1")},
    "label-free stage1": stage1(**STAGE1, label_free=True),
    "grip label-free": grip("label-free stage1", steps=200, label_free=True),
}
UNTRAINED = (
    *("full", "blind", "random", "uniform", "downsample", "cls_attention", "fopru_rank", "fopru_row", "visionzip"),
    *("vispruner", "holov", "scope", "prumerge", "prumerge_plus", "ptp", "divprune", "cdpruner", "dart", "tome"),
    *("pumer", "svd_prune", "vscan", "idpruner", "id_selection", "otprune"),
)
# In a model of four layers, these methods let every token pass the first layer. Of BUDGETS, they can only meet half.
INSIDE = ("fastv", "pyramiddrop", "sparsevlm")
BUDGETS = ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5")
SHAPE = ("blind_to", "width")  # settings of the scorer itself; the others are settings of its training


@dataclass(frozen=True)
class Compare:
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds."""
    variant_seeds: tuple[int, ...] = (0,)
    """Training seeds of the single-budget and label-free scorers."""
    methods: tuple[str, ...] = tuple(name for name in PLAN if name in pruners.names())
    """Trained methods to compare."""
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    runs: Path = Path("runs/compare")
    """Folder for the training runs and their rows."""
    out: Path = Path("results")
    """Folder for compare/, variants/ and training.json."""
    examples: int = 6000
    """Training examples."""
    limit: int = 300
    """Test items per benchmark."""


@dataclass
class Field:
    """Trains scorers of one VLM, each once."""

    compare: Compare
    vlm: FrozenVLM
    banks: Callable[[str, bool], tuple[Bank, DevSet]]
    """(data, label_free) -> training and dev examples, encoded once for all runs."""
    plan: dict[str, Training] = field(default_factory=lambda: PLAN | VARIANTS)
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)

    def folder(self, name: str, seed: int) -> Path:
        return self.compare.runs / f"{name.replace(' ', '_')}-{seed}"

    def scorer(self, name: str, seed: int) -> Path:
        """The folder of a trained scorer. Trains it, and what it starts from, if it is missing."""
        plan, out = self.plan[name], self.folder(name, seed)
        settings = plan.settings
        before = self.scorer(plan.start, seed) if plan.start else None
        if not (out / "scorer.json").is_file():
            bank, dev = self.banks(settings.get("data", "scenes"), settings.get("label_free", False))
            shape = {key: settings[key] for key in SHAPE if key in settings}
            others = {key: value for key, value in settings.items() if key not in SHAPE}
            config = plan.config(**{"out": out, "seed": seed, "examples": self.compare.examples, **others})
            torch.manual_seed(seed)
            scorer = checkpoint.load(before, self.vlm) if before else Scorer(ScorerConfig(dim=self.vlm.dim, **shape))
            plan.train(self.vlm, scorer, bank, dev, config)
        notes = checkpoint.read_notes(out)["provenance"]
        took = {key: notes[key] for key in ("steps", "seconds", "commit")}
        self.trained[out.name] = took | {key: notes["settings"][key] for key in ("dev", "best_step", "dev_examples")}
        return out

    def test(
        self, methods: dict[str, Pruner], seed: int, budgets: tuple[str, ...], names: Sequence[str] = ()
    ) -> list[Row]:
        """Rows on the locked test split of the named benchmarks, by default of the six composed ones."""
        parsed = [Budget.parse(budget) for budget in budgets]
        items = [open_items(name) for name in names or benchmarks.composed()]
        rows = self.compare.runs / "rows.jsonl"
        return evaluate(self.vlm, methods, items, parsed, rows, limit=self.compare.limit, seed=seed)


def encoder(vlm: FrozenVLM, compare: Compare) -> Callable[[str, bool], tuple[Bank, DevSet]]:
    """The function for `Field.banks`. It keeps the last two results in memory."""

    @lru_cache(maxsize=2)
    def encoded(data: str, label_free: bool) -> tuple[Bank, DevSet]:
        return load_banks(vlm, RunConfig(compare.runs, data, compare.examples, label_free=label_free))

    return encoded


def write(rows: list[Row], out: Path) -> None:
    """Write the rows to `out`/rows and a report on them to `out`.

    The report leaves out the rows' seconds, because they were measured beside other work. `grip-vlm bench` measures
    time.
    """
    written = write_folder(out / "rows", rows)
    for stale in set((out / "rows").iterdir()) - set(written):
        stale.unlink()
    print(report.write_report(report.measure(rows, timed=False), out))


def main(compare: Compare) -> None:
    vlm = vlms.load(compare.vlm)
    ours = Field(compare, vlm, encoder(vlm, compare))
    rows = ours.test({name: pruners.load(name) for name in UNTRAINED}, 0, BUDGETS)
    rows += ours.test({name: pruners.load(name) for name in INSIDE}, 0, ("0.5",))
    for seed in compare.seeds:
        methods = {name: pruners.load(name, scorer=ours.scorer(name, seed)) for name in compare.methods}
        rows += ours.test(methods, seed, BUDGETS)
    write(rows, compare.out / "compare")
    variants = [row for row in rows if row.pruner == "grip" and row.seed in compare.variant_seeds]
    for seed in compare.variant_seeds:
        for name, plan in VARIANTS.items():
            if name.startswith("grip"):
                budgets = (plan.settings["budget"],) if "budget" in plan.settings else BUDGETS
                variants += ours.test({name: pruners.load("grip", scorer=ours.scorer(name, seed))}, seed, budgets)
    if variants:
        write(variants, compare.out / "variants")
    write_text(compare.out / "training.json", json.dumps(ours.trained, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Compare))
