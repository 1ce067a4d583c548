"""Stage 1 only: the same scorer after the supervised warm-up, at GRIP's training compute.

Training: `grip_vlm/training/warmup.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
