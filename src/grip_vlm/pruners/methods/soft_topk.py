"""VisionSelector-style continuous relaxation (arXiv 2510.16598): the same scorer, trained through soft top-k gates.

    g = sigmoid(theta + lambda) with sum k,   loss = -log p(answer | g) + w BCE(g, hard top k),  w from 0.1 to 2

theta is importance less four times the highest cosine with a more important token (`policy.discounted`).
Training: `grip_vlm/rivals/soft_topk.py`, which also names the weight in VisionSelector's shipped script.

Deviations:

- In recipes/compare.py it starts from stage 1, like all relaxations, and then chooses as stage 1 does: one token after
  another.
- The learning rate is chosen on the dev split.
- Gates act on the attention to a token, not on its embedding.
- Budgets are sampled as for every method. The paper trains at 20 %.
- The scorer sees the question. Theirs does not.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
