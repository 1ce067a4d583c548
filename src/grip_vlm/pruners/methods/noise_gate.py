"""AutoSelect and DiffPrune style (arXiv 2603.07135, 2605.28051): the same scorer trained through noise."""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
