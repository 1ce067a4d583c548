"""DynamicViT-style keep or drop (arXiv 2106.02034): the same scorer, trained through sampled decisions.

Training, formula and deviations: `grip_vlm/rivals/dynamicvit.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
