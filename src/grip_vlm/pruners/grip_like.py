"""Our reading of the paper's policy and reward: Plackett-Luce and exact match, with the same scorer."""

from grip_vlm.pruners._scored import Scored


class Pruner(Scored):
    """Top k of the scores."""
