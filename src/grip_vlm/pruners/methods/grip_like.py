"""Our reading of the paper's policy and reward: Plackett-Luce, exact match and textbook GRPO, with the same scorer.

Training: `grip_vlm/rivals/grip_like.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
