"""The results in sentences: significant differences at each budget, the frontier, and cost at equal accuracy."""

from collections.abc import Sequence

import numpy as np

from grip_vlm.report.comparisons import Comparison
from grip_vlm.report.curves import undominated
from grip_vlm.report.escape import markdown
from grip_vlm.report.measured import Axis, Measured
from grip_vlm.report.summaries import LEVELS, CurveSummary
from grip_vlm.report.tables import Compared, budget_text, estimate_text

METHOD = """## How to read this

Accuracy is the macro mean over benchmarks. All intervals are 95 % intervals from a bootstrap over images within
benchmarks and over training seeds. All questions about an image are resampled together, and all methods share the
resampled images. With a single training seed, the intervals do not include the variance between seeds.

Intervals of accuracies and differences are Student's t intervals, because a few seeds say little about the variance
between seeds. The p-values and † come from the same t and are corrected by Holm's method over all comparisons: every
other method at every budget. "No significant difference" does not mean that there is no difference. The interval
shows how large it may be.

Intervals of whole curves are percentiles of the same resamples. They are too narrow if there are few seeds. AUC is
the mean accuracy over the logarithm of the budget. Hypervolume is the share of the area between no image and all
tokens, and between the cheapest point and all tokens, that a method dominates. BD (Bjontegaard) is the mean relative
difference in cost over the accuracies that both methods reach. ∞ means never reached. Costs are taken as measured:
the intervals do not include timing noise.
"""


def differences_by_budget(measured: Measured, compared: Compared, ours: str) -> str:
    """One paragraph per budget of ours, smallest first.

    "Beats" and "loses to" are significant at 5 % after Holm's correction over all comparisons. The others are listed
    as "no significant difference" with their intervals.
    """
    accuracy = {point.budget: point.accuracy for point in measured.points if point.pruner == ours}
    blocks = []
    for budget in measured.budgets():
        comparisons = sorted((c for (_, b), c in compared.items() if b == budget), key=lambda c: c.difference)
        if not comparisons:
            continue
        lines = [f"**At {budget_text(budget)}**, the accuracy of {markdown(ours)} is {100 * accuracy[budget]:.1f} %."]
        won = [c for c in comparisons if c.significant and c.difference > 0]
        lost = [c for c in comparisons if c.significant and c.difference < 0]
        undecided = [c for c in comparisons if not c.significant]
        if won:
            lines.append(f"It beats {_listed(won)} points.")
        if lost:
            lines.append(f"It loses to {_listed(lost, sign=-1)} points.")
        if undecided:
            pruners = _and([f"{markdown(c.pruner)} ({100 * c.low:+.1f} to {100 * c.high:+.1f})" for c in undecided])
            lines.append(f"No significant difference to {pruners}.")
        blocks.append(" ".join(lines))
    return "\n\n".join(blocks) + "\n" if blocks else f"There is no budget at which {markdown(ours)} can be compared.\n"


def on_frontier(measured: Measured, axis: Axis, ours: str) -> str:
    """The budgets at which ours is on the frontier over this cost, and the other methods on it."""
    index = [i for i, point in enumerate(measured.points) if np.isfinite(point.cost(axis)) and point.pruner != "blind"]
    best = undominated(
        *zip(*[(measured.points[i].cost(axis), measured.points[i].accuracy) for i in index], strict=True)
    )
    reached: dict[str, list[str]] = {}
    for i in best:
        point = measured.points[index[i]]
        reached.setdefault(point.pruner, []).append(budget_text(point.budget))
    our_budgets = reached.pop(ours, None)
    name = markdown(ours)
    first = f"{name} is on it at {_and(our_budgets)}" if our_budgets else f"{name} is not on it"
    rest = "; ".join(f"{markdown(other)} at {_and(budgets)}" for other, budgets in reached.items())
    missing = sorted({p.pruner for p in measured.points if not np.isfinite(p.cost(axis))})
    left_out = f" Left out, because their cost is unknown: {_and(list(map(markdown, missing)))}." if missing else ""
    return f"Frontier over {axis.name}: {first}{'; ' + rest if rest else ''}.{left_out}\n"


def at_equal_accuracy(summaries: Sequence[CurveSummary], axis: Axis, ours: str) -> str:
    """One paragraph per level: the cost of the others relative to ours where they reach that accuracy."""
    lines, ours = [], markdown(ours)
    for level in LEVELS:
        known = [
            (markdown(s.pruner), s.cost_ratio[level]) for s in summaries if not np.isnan(s.cost_ratio[level].value)
        ]
        ratios = [(name, ratio) for name, ratio in known if 0 < ratio.value < np.inf]
        never = [name for name, ratio in known if ratio.value == np.inf]
        accuracy = f"{100 * level:.0f} % of the full model's accuracy"
        if not known:
            continue
        if all(ratio.value == 0 for _, ratio in known):
            lines.append(f"{ours} never reaches {accuracy}.")
            continue
        ratios.sort(key=lambda item: item[1].value)
        listed = _and([f"{name} {estimate_text(ratio, 1, '.2f')}" for name, ratio in ratios])
        cost = axis.name[0].upper() + axis.name[1:]
        text = f"{cost} to reach {accuracy}, relative to {ours}: {listed}." if ratios else f"{ours} reaches {accuracy}."
        lines.append(text + (f" Never reached by {_and(never)}." if never else ""))
    return "\n\n".join(lines) + "\n"


def _listed(comparisons: Sequence[Comparison], sign: int = 1) -> str:
    ranges = [sorted((sign * c.low, sign * c.high)) for c in comparisons]
    pairs = zip(comparisons, ranges, strict=True)
    return _and([f"{markdown(c.pruner)} by {100 * low:.1f} to {100 * high:.1f}" for c, (low, high) in pairs])


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
