"""A VisionSelector-style continuous relaxation: the same scorer trained through soft top-k gates (arXiv 2510.16598).

    g = sigmoid(theta + lambda) with sum k,   loss = -log p(answer | g) + w BCE(g, hard top k),  w from 0.1 to 2

theta is importance less four times the highest cosine with a more important token (`sequential.discounted`).

Deviations: in recipes/compare.py it starts from stage 1, as all relaxations, and then chooses as that does, one token
after another; the learning rate is chosen by dev; gates act on the attention to a token instead of on its embedding;
budgets are drawn as for everybody, where the paper trains at 20 %; the scorer sees the question, theirs does not.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
