"""Do the questions look like those of the calibration? A two-sample test of what the head says about them."""

import threading
from collections import deque

from torch import Tensor

from grip_vlm.sufficiency import Curve

FIRST, MOST = 100, 800  # questions before the first test, and questions that are kept for a test
LEVEL = 0.001  # probability of a false warning in the life of a watch, at most


class ShiftWarning(UserWarning):
    """The questions look unlike those that the scorer was calibrated on, so the promise may not hold."""


class Watch:
    """Looks at the questions that pass, and tests them after 100, 200, 400, ... of them. Threads may share it."""

    def __init__(self, reference: Curve) -> None:
        self.reference = reference
        self.seen, self.next, self.tests = 0, FIRST, 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._lock = threading.Lock()

    def look(self, curve: Curve) -> str:
        """Note the questions of a batch; returns what to warn of, "" if there is nothing."""
        with self._lock:
            self._recent.extend(zip(curve.level.tolist(), curve.slope.tolist(), strict=True))
            self.seen += len(curve.level)
            if self.seen < self.next:
                return ""
            self.next, self.tests = 2 * self.seen, self.tests + 1
            level, slope = zip(*self._recent, strict=True)
        p = p_value(self.reference, Curve(Tensor(level).double(), Tensor(slope).double()))
        if p >= LEVEL / 2**self.tests:
            return ""
        return (
            f"the last {len(level)} questions look unlike those that the scorer was calibrated on (p = {p:.1g} in a "
            "two-sample test of how many tokens they need), so its promise may not hold for them; calibrate it on "
            "questions like them with `grip-vlm calibrate`"
        )


def p_value(reference: Curve, sample: Curve) -> float:
    """Of two-sample Kolmogorov-Smirnov tests of levels and of slopes, the smaller p-value times two, at most 1."""
    from scipy.stats import ks_2samp

    pairs = (reference.level, sample.level), (reference.slope, sample.slope)
    return min(1.0, *(2 * float(ks_2samp(one.numpy(), other.numpy()).pvalue) for one, other in pairs))
