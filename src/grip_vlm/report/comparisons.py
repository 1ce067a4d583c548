"""Ours against every other pruner at every budget: paired differences, corrected for multiple comparisons."""

from dataclasses import dataclass

from grip_vlm.report.measured import Measured
from grip_vlm.report.statistics import holm, student_interval


@dataclass(frozen=True)
class Comparison:
    """Accuracy of ours minus that of another pruner at one budget, macro mean over benchmarks."""

    pruner: str
    budget: str
    difference: float
    low: float
    high: float
    """95 % interval, not corrected for multiple comparisons."""
    p: float
    """p-value after Holm's correction over all comparisons of the table."""

    @property
    def significant(self) -> bool:
        """Whether the difference is significant at 5 % over all comparisons together."""
        return self.p < 0.05


def comparisons(measured: Measured, ours: str) -> dict[tuple[str, str], Comparison]:
    """(pruner, budget) -> the comparison with ours, at every budget that ours was measured at."""
    index = {(point.pruner, point.budget): i for i, point in enumerate(measured.points)}
    pairs = [
        (index[ours, budget], i, pruner, budget)
        for (pruner, budget), i in index.items()
        if pruner != ours and (ours, budget) in index
    ]
    if not pairs:
        return {}
    differences = [_paired_difference(measured, ours_index, other) for ours_index, other, _, _ in pairs]
    adjusted = holm([p for *_, p in differences])
    return {
        (pruner, budget): Comparison(pruner, budget, *difference[:3], p=float(p))
        for (_, _, pruner, budget), difference, p in zip(pairs, differences, adjusted, strict=True)
    }


def _paired_difference(measured: Measured, first: int, second: int) -> tuple[float, float, float, float]:
    """The accuracy difference of two points, given by index: difference, low, high, p."""
    points = measured.points[first], measured.points[second]
    variance = float((measured.resamples[:, first] - measured.resamples[:, second]).var())
    difference = points[0].accuracy - points[1].accuracy
    return difference, *student_interval(difference, variance, [(point.seed_variance, point.seeds) for point in points])
