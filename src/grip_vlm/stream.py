"""`mean:5%`: a share of the tokens in the mean over a window of questions, given where they are needed.

Questions are served one at a time, so what one gets depends on those before it and not on those after it, nor on how
they are batched. Each window has one purse: the share of all its tokens. A question may spend at the price at which
the calibration's questions would spend, in the mean, what the purse has left for each question of the window. The last
question of a window gets what is left. Where its tokens do not suffice for that, the next window has the rest.
"""

import math
import threading
from fractions import Fraction

import torch
from torch import Tensor

from grip_vlm.sufficiency import Curve, worth

MOST_REFERENCES = 512


class Stream:
    """What a stream of questions has been given. Threads may share it."""

    def __init__(self, share: Fraction, window: int, reference: Curve) -> None:
        """Args: reference: curves of questions like those to come."""
        self.share, self.window, self.reference = share, window, reference
        self.place, self.purse = 0, Fraction(0)  # questions of the window so far, tokens they left over
        self._lock = threading.Lock()
        self._ladders: dict[int, Tensor] = {}

    def take(self, n: int, curve: Curve) -> int:
        """The tokens for the next question, 1 <= k <= n.

        Args:
            n: its visual tokens.
            curve: its own curve, a single row.
        """
        with self._lock:
            left = self.window - self.place  # this question included
            total = self.purse + self.share * n * left  # as if all to come had n tokens
            low, high = total - (left - 1) * n, total - (left - 1)
            k = math.floor(total + Fraction(1, 2)) if left == 1 else self._wanted(n, curve, total / left)
            k = min(max(k, 1, math.ceil(low)), max(1, math.floor(high + Fraction(1, 2))), n)
            self._record(n, k)
            return k

    def given(self, n: int, k: int) -> None:
        """Count a question of n tokens that has been given k already."""
        with self._lock:
            self._record(n, k)

    def _record(self, n: int, k: int) -> None:
        self.purse += self.share * n - k
        self.place += 1
        if self.place == self.window:
            self.place = 0
            if abs(self.purse) <= Fraction(1, 2):  # the rounding of this window
                self.purse = Fraction(0)

    def _wanted(self, n: int, curve: Curve, each: Fraction) -> int:
        """The question's tokens at the price at which the reference spends `each` tokens in the mean."""
        counts = torch.arange(1, n + 1, dtype=torch.float64)
        if n not in self._ladders:
            ladder = worth(self.reference, counts)[:, :-1]  # (R, n - 1) what each token after the first is worth
            self._ladders[n] = ladder.flatten().sort(descending=True).values
        ladder, references = self._ladders[n], len(self.reference.level)
        bought = min(max(round((float(each) - 1) * references), 0), len(ladder))
        if bought == 0:
            return 1
        return 1 + int((worth(curve, counts)[0, :-1] >= ladder[bought - 1]).sum())
