"""The noise gate of AutoSelect and DiffPrune (arXiv 2603.07135, 2605.28051): the same scorer, trained through noise.

Only the abstracts of the papers are known. AutoSelect's repository is a README without code.
Training, formula and deviations: `grip_vlm/rivals/noise_gate.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
