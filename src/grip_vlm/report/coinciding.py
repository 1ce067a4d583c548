"""Pruners whose curves are the same, point for point: one hides the other in a figure unless it is said."""

from collections.abc import Hashable, Sequence

from grip_vlm.report.measured import TOKENS, Axis, Measured

DIGITS = 9  # equal accuracies may differ by summation errors


def same_as(measured: Measured, names: Sequence[str], axis: Axis = TOKENS, benchmark: str = "") -> dict[str, str]:
    """pruner -> the first of `names` with the same curve, for all pruners that coincide with an earlier one.

    Args:
        benchmark: whose accuracy is meant; empty for the macro mean.
    """
    first: dict[Hashable, str] = {}
    twins = {}
    for name in names:
        points = [measured.points[i] for i in measured.indices(name, axis)]
        values = [point.by_benchmark[benchmark] if benchmark else point.accuracy for point in points]
        curve = tuple(
            (round(point.cost(axis), DIGITS), round(value, DIGITS)) for point, value in zip(points, values, strict=True)
        )
        if curve and first.setdefault(curve, name) != name:
            twins[name] = first[curve]
    return twins
