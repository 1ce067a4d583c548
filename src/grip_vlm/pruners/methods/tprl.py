"""TPRL-style PPO over independent keeps (arXiv 2603.13394): the same scorer after imitation and PPO.

Training, formula and deviations: `grip_vlm/rivals/tprl.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
