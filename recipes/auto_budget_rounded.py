"""Does the promise of `auto` hold for another VLM than the calibration's: the same one with rounded weights?

    python recipes/auto_budget_rounded.py      two cores: a few minutes for each number of bits

A VLM with other embeddings is refused. One that was quantised or trained further may keep its embeddings, and is not
refused. All linear layers of tiny-llava are rounded to a number of bits, each output row on its own scale. Each VLM
answers the same test questions from all tokens and with `auto:0.02`. What it loses is against its own answers from all
tokens. Rows go to OUT/auto-budget/rounded.jsonl.gz. A stopped run resumes with the same command.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from grip_vlm import benchmarks, pruners, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import Row, write_packed
from grip_vlm.files import write_text
from grip_vlm.report.statistics import percentile_interval, resampled_means
from grip_vlm.vlms import FrozenVLM

BUDGET = "auto:0.02"


@dataclass(frozen=True)
class Rounded:
    bits: tuple[int, ...] = (32, 8, 6, 5, 4)
    """Bits of each weight; 32 leaves the VLM as it is."""
    vlm: str = "tiny-llava"
    """A shipped VLM with a calibrated scorer of the same name."""
    limit: int = 300
    """Test items per benchmark."""
    runs: Path = Path("runs/auto-budget")
    """Folder for the rows."""
    out: Path = Path("results")
    """Folder for auto-budget-rounded.md."""


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A matrix (out, in) with each row rounded to 2^bits - 1 even steps between minus and plus its largest value."""
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)  # (out, 1)
    return (weight / step).round() * step


def load_rounded(name: str, bits: int) -> FrozenVLM:
    """The VLM with all its linear layers rounded."""
    vlm = vlms.load(name)
    with torch.no_grad():
        for module in vlm.model.modules():
            if bits < 32 and isinstance(module, torch.nn.Linear):
                module.weight.copy_(rounded(module.weight, bits))
    return vlm


def line(bits: int, rows: list[Row]) -> str:
    """One row of the table."""
    by_item = {(row.pruner, row.benchmark, row.item): row for row in rows}
    pairs = [(row, by_item["full", row.benchmark, row.item]) for row in rows if row.pruner == "grip"]
    drops = np.array([full.score - pruned.score for pruned, full in pairs])
    low, high = percentile_interval(resampled_means([drops], np.random.default_rng(0), 5000)[:, 0])
    full = 100 * np.mean([row.score for _, row in pairs])
    kept = np.mean([row.kept for row, _ in pairs])
    clipped = 100 * np.maximum(drops, 0).mean()
    return (
        f"| {bits} | {full:.1f} | {kept:.1f} | {100 * drops.mean():.2f} | [{100 * low:.2f}, {100 * high:.2f}] | "
        f"{clipped:.2f} |"
    )


def main(told: Rounded) -> None:
    lines, all_rows = [], []
    items = [open_items(name) for name in benchmarks.composed()]
    for bits in told.bits:
        vlm = load_rounded(told.vlm, bits)
        methods = {"full": pruners.load("full"), "grip": pruners.load("grip", scorer=told.vlm)}
        path = told.runs / f"rounded-{bits}.jsonl"
        rows = evaluate(vlm, methods, items, [Budget.parse(BUDGET)], path, limit=told.limit)
        lines.append(line(bits, rows))
        all_rows += rows
        print(lines[-1], flush=True)
    write_packed(told.out / "auto-budget" / "rounded.jsonl.gz", all_rows)
    head = [
        "# `auto` with another VLM than the calibration's",
        "",
        f"Made by `python recipes/auto_budget_rounded.py`: {told.vlm} with its linear layers rounded to so many "
        f"bits, {told.limit} test questions of each of six tasks, the shipped scorer and calibration, `{BUDGET}`. "
        "Points lost are against the same VLM's answers from all tokens. `right answers lost` does not count answers "
        "that pruning corrects, and is what the promise bounds.",
        "",
        "| bits | all tokens, % | mean tokens | accuracy lost, points | 95 % interval | right answers lost, points |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    write_text(told.out / "auto-budget-rounded.md", "\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Rounded))
