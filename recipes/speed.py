"""Time at equal accuracy, end to end, with all methods measured side by side in one run.

    python recipes/speed.py --rows results/compare/rows --scorers runs/compare --out results/speed.md

The accuracies are 95 % and 98 % of full, the batches 1 and 16. The table has the milliseconds in which each method
reaches an accuracy, as a multiple of grip's too.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import tyro

from grip_vlm import benchmarks, checkpoint, pruners, report, vlms
from grip_vlm.budget import Budget
from grip_vlm.evaluation.latency import measure_latency
from grip_vlm.files import write_text
from grip_vlm.pruners import Pruner
from grip_vlm.report.curves import cost_at
from grip_vlm.report.measured import Point


@dataclass(frozen=True)
class Speed:
    rows: tuple[Path, ...]
    """Files or folders with rows of `evaluate`. The accuracies are read from them."""
    out: Path = Path("results/speed.md")
    """File for the table."""
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    scorers: Path = Path("runs/compare")
    """Folder with one scorer per trained method, named METHOD-0."""
    rounds: int = 30
    """Interleaved rounds; the median counts."""


SHARES = (0.95, 0.98)  # of the accuracy of the full model


def main(speed: Speed) -> None:
    vlm = vlms.load(speed.vlm)
    points = [point for point in report.points(report.read_rows(speed.rows)) if point.pruner != "blind"]
    full = next(point.accuracy for point in points if point.pruner == "full")
    curves = defaultdict(list)
    for point in points:
        curves[point.pruner].append(point)
    timed = {name: around(curve, full) for name, curve in curves.items()}
    # Trained methods have the same network. Those that choose in the same way do the same work and share one clock.
    clock = {name: name for name in curves} | {name: "grip" for name in curves if in_turn(speed.scorers / f"{name}-0")}
    wanted = sorted({(clock[point.pruner], point.budget) for curve in timed.values() for point in curve})
    ready = {name: load(name, speed) for name, _ in wanted}
    jobs = [(name, ready[name], Budget.parse(budget)) for name, budget in wanted]
    names = benchmarks.composed()
    examples = [benchmarks.example(names[i % len(names)], "dev", i) for i in range(16)]
    lines = ["| batch | accuracy | pruner | ms | times grip's |", "|--:|--:|---|--:|--:|"]
    for batch in (1, 16):
        timings = measure_latency(vlm, jobs, examples, batch, speed.rounds)
        seconds = {job: timing.seconds for job, timing in zip(wanted, timings, strict=True)}
        for share in SHARES:
            reached = {
                name: cost_at(
                    share * full, [seconds[clock[name], p.budget] for p in curve], [p.accuracy for p in curve]
                )
                if curve
                else math.inf
                for name, curve in timed.items()
            }
            for name, cost in sorted(reached.items(), key=lambda item: (math.isinf(item[1]), item[1])):
                told = "never | -" if math.isinf(cost) else f"{1000 * cost:.2f} | {cost / reached['grip']:.2f}"
                lines.append(f"| {batch} | {100 * share:.0f} % of full | {name} | {told} |")
    write_text(speed.out, "\n".join(lines) + "\n")
    print(speed.out.read_text())


def in_turn(scorer: Path) -> bool:
    """Whether this folder has a scorer that chooses one token after another."""
    return scorer.is_dir() and not checkpoint.read_notes(scorer)["scorer"]["one_pass"]


def around(curve: list[Point], full: float) -> list[Point]:
    """The points of one method between which it reaches the accuracies, sorted by tokens; none if it never does."""
    low, high = (share * full for share in SHARES)
    reached = [i for i, point in enumerate(curve) if point.accuracy >= low]
    if not reached:
        return []
    last = next((i for i in reached if curve[i].accuracy >= high), reached[-1])
    return curve[max(0, reached[0] - 1) : last + 1]


def load(name: str, speed: Speed) -> Pruner:
    """The pruner with its trained scorer; grip falls back to the shipped scorer."""
    trained = speed.scorers / f"{name}-0"
    return pruners.load(name, scorer=str(trained) if trained.is_dir() else (speed.vlm if name == "grip" else None))


if __name__ == "__main__":
    main(tyro.cli(Speed))
