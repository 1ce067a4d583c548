"""What the numbers say, in sentences: who is ahead at which budget and by how much, and where nothing was found."""

from collections.abc import Sequence

import numpy as np

from grip_vlm.report.comparisons import Comparison
from grip_vlm.report.curves import frontier
from grip_vlm.report.measured import Axis, Measured
from grip_vlm.report.summaries import LEVELS, Summary
from grip_vlm.report.tables import Compared, budget_said, estimate

METHOD = """## How to read this

Accuracy is the macro mean over benchmarks. Intervals are of 95 %, from a bootstrap that resamples images within
benchmarks, each with all questions on it, the same for all methods, and training seeds. For accuracies and
differences they are Student's, since a few seeds say little of how much seeds differ; those of whole curves are
percentiles of the same resamples, too narrow with few seeds. With one seed its chance is not in them. `p` and †,
from the same t, are after Holm's correction over all comparisons, of every other method at every budget. "No
certain difference" does not mean that there is none: the interval says how large it may be. AUC is the mean
accuracy over the logarithm of the budget. Hypervolume is the share of what lies between no image and all tokens,
and between the cheapest point and all tokens, that a method dominates. BD (Bjontegaard) is the mean difference in
cost over the accuracies that both reach; ∞ is never reached. Costs are taken as they were measured: no interval
holds the noise of the clock.
"""


def by_budget(measured: Measured, compared: Compared, ours: str) -> str:
    """A paragraph per budget of ours, smallest first.

    "beats" and "loses to" hold at 5 % after Holm's correction over all comparisons; the rest is "no certain
    difference", with the interval that says how large one may be.
    """
    accuracy = {point.budget: point.accuracy for point in measured.points if point.pruner == ours}
    blocks = []
    for budget in measured.budgets():
        here = sorted((c for (_, b), c in compared.items() if b == budget), key=lambda c: c.difference)
        if not here:
            continue
        lines = [f"**At {budget_said(budget)}**, {ours} gets {100 * accuracy[budget]:.1f} % right."]
        won = [c for c in here if c.certain and c.difference > 0]
        lost = [c for c in here if c.certain and c.difference < 0]
        open_ = [c for c in here if not c.certain]
        if won:
            lines.append(f"It beats {_listed(won)} points.")
        if lost:
            lines.append(f"It loses to {_listed(lost, sign=-1)} points.")
        if open_:
            between = _and([f"{c.pruner} ({100 * c.low:+.1f} to {100 * c.high:+.1f})" for c in open_])
            lines.append(f"No certain difference to {between}.")
        blocks.append(" ".join(lines))
    return "\n\n".join(blocks) + "\n" if blocks else f"There is no budget at which {ours} can be compared.\n"


def on_frontier(measured: Measured, axis: Axis, ours: str) -> str:
    """One sentence: at which budgets ours is on the frontier over this cost, and who else is."""
    index = [i for i, point in enumerate(measured.points) if np.isfinite(point.cost(axis)) and point.pruner != "blind"]
    best = frontier(*zip(*[(measured.points[i].cost(axis), measured.points[i].accuracy) for i in index], strict=True))
    reached: dict[str, list[str]] = {}
    for i in best:
        point = measured.points[index[i]]
        reached.setdefault(point.pruner, []).append(budget_said(point.budget))
    mine = reached.pop(ours, None)
    first = f"{ours} is on it at {_and(mine)}" if mine else f"{ours} is not on it"
    rest = "; ".join(f"{name} at {_and(at)}" for name, at in reached.items())
    missing = sorted({p.pruner for p in measured.points if not np.isfinite(p.cost(axis))})
    left = f" Not counted, and so left out: {_and(missing)}." if missing else ""
    return f"Frontier over {axis.name}: {first}{'; ' + rest if rest else ''}.{left}\n"


def at_equal_accuracy(found: Sequence[Summary], axis: Axis, ours: str) -> str:
    """A sentence per level: what the others cost where they are as accurate as ours."""
    lines = []
    for level in LEVELS:
        costs = [(s.pruner, s.speedup[level]) for s in found if not np.isnan(s.speedup[level].value)]
        reaching = [(name, e) for name, e in costs if 0 < e.value < np.inf]
        never = [name for name, e in costs if e.value == np.inf]
        if not costs:
            continue
        if all(e.value == 0 for _, e in costs):
            lines.append(f"{ours} never reaches {100 * level:.0f} % of the full model's accuracy.")
            continue
        reaching.sort(key=lambda item: item[1].value)
        told = _and([f"{name} {estimate(e, 1, '.2f')}" for name, e in reaching])
        text = f"For {100 * level:.0f} % of the full model's accuracy"
        text += f", {ours}'s {axis.name} being 1: {told}." if reaching else f" {ours} alone gets there."
        lines.append(text + (f" Never there: {_and(never)}." if never else ""))
    return "\n\n".join(lines) + "\n"


def _listed(found: Sequence[Comparison], sign: int = 1) -> str:
    ranges = [sorted((sign * c.low, sign * c.high)) for c in found]
    return _and([f"{c.pruner} by {100 * a:.1f} to {100 * b:.1f}" for c, (a, b) in zip(found, ranges, strict=True)])


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
