"""GRIP: the budget-aware scorer after warm-up and GRPO.

Training: `grip_vlm/training/warmup.py`, then `grip_vlm/training/grpo.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
