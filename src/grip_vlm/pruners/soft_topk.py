"""A VisionSelector-style continuous relaxation: the same scorer trained through soft top-k gates (arXiv 2510.16598)."""

from grip_vlm.pruners._scored import Scored


class Pruner(Scored):
    """Top k of the scores."""
