"""TPRL-style PPO over independent keeps (arXiv 2603.13394): the same scorer after imitation and PPO."""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
