"""Attention distillation only: the same scorer trained to the answer's attention and nothing else."""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
