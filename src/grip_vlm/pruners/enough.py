"""What a calibrated scorer gives each question for `auto` and `mean:5%`."""

import warnings
from pathlib import Path

from grip_vlm import calibration
from grip_vlm.drift import ShiftWarning, Watch
from grip_vlm.goals import Auto, Mean
from grip_vlm.mdp import State
from grip_vlm.scorer import Reading
from grip_vlm.stream import Stream
from grip_vlm.sufficiency import Curve, least
from grip_vlm.vlms import FrozenVLM


class Enough:
    """A calibration in use. It remembers what its streams have been given, and what the questions look like."""

    def __init__(self, folder: Path, vlm: FrozenVLM, goal: Auto | Mean) -> None:
        """Load the calibration beside the scorer in `folder`.

        Args:
            goal: what is asked for, for messages.

        Raises:
            ValueError: there is none, or none for this scorer and this VLM.
        """
        self.model = vlm.model
        self.calibrated = calibration.load(folder, vlm, goal if isinstance(goal, Auto) else None)
        self.calibrated.head.to(vlm.device)
        self._command = calibration.command_for(folder, vlm.name)
        self._watch = Watch(self.calibrated.reference)
        self._streams: dict[Mean, Stream] = {}

    def curve(self, reading: Reading, state: State) -> Curve:
        """The curves of a batch's questions, on the CPU. Warns where they look unlike the calibration's.

        Args:
            reading: what the scorer reads in `state`.
        """
        curve = self.calibrated.head(reading, state)
        curve = Curve(curve.level.cpu(), curve.slope.cpu())
        if message := self._watch.look(curve):
            warnings.warn(message, ShiftWarning, stacklevel=2)
        return curve

    def price(self, goal: Auto) -> float:
        """The price per token of a goal. Raises ValueError if the calibration does not promise it."""
        return self.calibrated.price(goal, self._command)

    def tokens(self, goal: Auto | Mean, n: int, curve: Curve) -> int:
        """Of n tokens, what the next question gets, whose curve is a single row."""
        if isinstance(goal, Auto):
            return int(least(curve, n, self.price(goal)))
        return self.stream(goal).take(n, curve)

    def stream(self, goal: Mean) -> Stream:
        """The stream that all questions of this goal belong to."""
        return self._streams.setdefault(goal, Stream(goal.fraction, goal.window, self.calibrated.reference))
