"""GRIP: the budget-aware scorer after warm-up and GRPO."""

from grip_vlm.pruners._scored import Scored


class Pruner(Scored):
    """Top k of the scores."""
