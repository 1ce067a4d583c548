"""Speed-up at equal accuracy, end to end, measured side by side in one run.

    python recipes/speed.py --rows results/compare.jsonl.gz --scorers runs/compare --out results/speed.md

For accuracies of 95 % and 98 % of full and batches of 1 and 16: the seconds in which each method reaches them, and how
many times slower than grip that is.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from grip_vlm import benchmarks, pareto, pruners, vlms
from grip_vlm.budget import Budget
from grip_vlm.files import write_text
from grip_vlm.latency import measure
from grip_vlm.pareto.curves import cost_at
from grip_vlm.pruners._scored import Scored


@dataclass(frozen=True)
class Speed:
    rows: tuple[Path, ...]
    """rows of `evaluate`, for the accuracies"""
    out: Path = Path("results/speed.md")
    vlm: str = "tiny-llava"
    scorers: Path = Path("runs/compare")
    """folder with a scorer per trained method, named METHOD-0"""
    rounds: int = 30


def main(speed: Speed) -> None:
    vlm = vlms.load(speed.vlm)
    measured = [point for point in pareto.points(pareto.read_rows(speed.rows)) if point.pruner != "blind"]
    full = next(point.accuracy for point in measured if point.pruner == "full")
    jobs = []
    for point in measured:
        trained = speed.scorers / f"{point.pruner}-0"
        scorer = str(trained) if trained.is_dir() else (speed.vlm if point.pruner == "grip" else None)
        jobs.append((point.pruner, pruners.load(point.pruner, scorer=scorer), Budget.parse(point.budget)))
    names = benchmarks.composed()
    examples = [benchmarks.example(names[i % len(names)], "dev", i) for i in range(16)]
    lines = ["| batch | accuracy | pruner | ms | times grip's |", "|--:|--:|---|--:|--:|"]
    for batch in (1, 16):
        timings = measure(vlm, jobs, examples, batch, speed.rounds)
        # Trained methods have the very same scorer: at one budget they do the same work and share one clock.
        clocks = defaultdict(list)
        for timing, (name, pruner, budget) in zip(timings, jobs, strict=True):
            clocks["scorer" if isinstance(pruner, Scored) else name, str(budget)].append(timing.seconds)
        curves = defaultdict(list)
        for (name, pruner, budget), point in zip(jobs, measured, strict=True):
            clock = clocks["scorer" if isinstance(pruner, Scored) else name, str(budget)]
            curves[name].append((median(clock), point.accuracy))
        for share in (0.95, 0.98):
            reached = {name: cost_at(share * full, *zip(*curve, strict=True)) for name, curve in curves.items()}
            for name, seconds in sorted(reached.items(), key=lambda item: (math.isinf(item[1]), item[1])):
                told = "never" if math.isinf(seconds) else f"{1000 * seconds:.2f}"
                ratio = "-" if math.isinf(seconds) else f"{seconds / reached['grip']:.2f}"
                lines.append(f"| {batch} | {100 * share:.0f} % of full | {name} | {told} | {ratio} |")
    write_text(speed.out, "\n".join(lines) + "\n")
    print(speed.out.read_text())


if __name__ == "__main__":
    main(tyro.cli(Speed))
