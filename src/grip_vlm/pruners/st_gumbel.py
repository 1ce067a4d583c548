"""Straight-through Gumbel top-k: the same scorer trained through hard gates with soft gradients."""

from grip_vlm.pruners._scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
