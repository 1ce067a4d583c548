"""Stage 1 only: the same scorer after supervised warm-up, at GRIP's training compute."""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
