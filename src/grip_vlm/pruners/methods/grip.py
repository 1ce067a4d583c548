"""GRIP: the budget-aware scorer after warm-up and GRPO."""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
