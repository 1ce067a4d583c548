"""Ours against every other pruner at every budget: paired differences, corrected for how many there are."""

from dataclasses import dataclass

from grip_vlm.pareto.measured import Measured
from grip_vlm.pareto.statistics import holm, interval, p_value


@dataclass(frozen=True)
class Comparison:
    """Accuracy of ours minus theirs at one budget, macro mean."""

    pruner: str
    budget: str
    difference: float
    low: float
    high: float
    """95 % interval of this comparison alone"""
    p: float
    """after Holm's correction over all comparisons of the table"""

    @property
    def certain(self) -> bool:
        """Different, at 5 % for all comparisons together."""
        return self.p < 0.05


def comparisons(measured: Measured, ours: str) -> dict[tuple[str, str], Comparison]:
    """(pruner, budget) -> ours against it, for all pruners measured at a budget of ours."""
    place = {(point.pruner, point.budget): i for i, point in enumerate(measured.points)}
    pairs = [
        (place[ours, budget], i, pruner, budget)
        for (pruner, budget), i in place.items()
        if pruner != ours and (ours, budget) in place
    ]
    if not pairs:
        return {}
    draws = [measured.draws[:, mine] - measured.draws[:, theirs] for mine, theirs, _, _ in pairs]
    adjusted = holm([p_value(one) for one in draws])
    found = {}
    for (mine, theirs, pruner, budget), one, p in zip(pairs, draws, adjusted, strict=True):
        difference = measured.points[mine].accuracy - measured.points[theirs].accuracy
        found[pruner, budget] = Comparison(pruner, budget, difference, *interval(one), p=float(p))
    return found
