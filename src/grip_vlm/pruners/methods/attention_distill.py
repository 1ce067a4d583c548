"""Attention distillation: the same scorer, trained to imitate the attention of the answer and nothing else.

Training, formula and deviations: `grip_vlm/rivals/attention_distill.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
