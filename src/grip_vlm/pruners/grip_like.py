"""Our reading of the paper's policy and reward: Plackett-Luce and exact match; scorer and all else as in `grip`."""

from grip_vlm.pruners._scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
