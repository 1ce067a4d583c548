"""When users of `auto` are warned that their questions look unlike those of the calibration: the test of `drift.py`."""

import numpy as np
import torch

from auto_budget_curves import Curves
from grip_vlm.drift import Watch
from grip_vlm.evaluation.promises import some
from grip_vlm.sufficiency import Curve

BATCH = 20  # questions answered together


def head_curve(curves: Curves) -> Curve:
    """What the head says of the questions."""
    return Curve(torch.as_tensor(curves["level"]), torch.as_tensor(curves["slope"]))


def questions_before_a_warning(calibration: Curve, used: Curve, seed: int = 0) -> int | None:
    """Questions that pass, in a random order, until the user is warned; None if that never happens."""
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(used.level)))
    watch = Watch(some(calibration))
    for rows in order.split(BATCH):
        if watch.look(Curve(used.level[rows], used.slope[rows])):
            return watch.seen
    return None


def warned(calibration: Curves, used: Curves) -> str:
    """`questions_before_a_warning` as a cell of a table."""
    seen = questions_before_a_warning(head_curve(calibration), head_curve(used))
    return f"none in {len(used['level'])} questions" if seen is None else f"after {seen} questions"


def false_warnings(curves: Curves, splits: int) -> str:
    """How many random splits warn although both halves are of one kind, as a sentence."""
    rng, whole, hits = np.random.default_rng(0), head_curve(curves), 0
    for split in range(splits):
        halves = torch.as_tensor(rng.permutation(len(whole.level))).tensor_split(2)
        parts = (Curve(whole.level[half], whole.slope[half]) for half in halves)
        hits += questions_before_a_warning(*parts, seed=split) is not None
    return (
        "`warning`: when `ShiftWarning` comes (`drift.py`), with the questions in a random order. Where calibration "
        f"and use are halves of the same questions, it comes in {hits} of {splits} splits."
    )
