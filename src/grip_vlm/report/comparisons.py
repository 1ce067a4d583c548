"""Ours against every other pruner at every budget: paired differences, corrected for how many there are."""

from dataclasses import dataclass

from grip_vlm.report.measured import Measured
from grip_vlm.report.statistics import holm, student


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
    told = [_paired(measured, mine, theirs) for mine, theirs, _, _ in pairs]
    adjusted = holm([p for *_, p in told])
    return {
        (pruner, budget): Comparison(pruner, budget, *one[:3], p=float(p))
        for (_, _, pruner, budget), one, p in zip(pairs, told, adjusted, strict=True)
    }


def _paired(measured: Measured, mine: int, theirs: int) -> tuple[float, float, float, float]:
    """The difference of two points, its interval, and the p-value of its being zero."""
    one, other = measured.points[mine], measured.points[theirs]
    variance = float((measured.draws[:, mine] - measured.draws[:, theirs]).var())
    difference = one.accuracy - other.accuracy
    return difference, *student(difference, variance, [(point.seed_variance, point.seeds) for point in (one, other)])
