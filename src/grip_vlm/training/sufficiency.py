"""Trains the head that knows how many tokens are enough, after the scorer, which stays as it is.

The targets are answers of the frozen VLM from several counts of tokens: 1 where an answer is as good as the answer from
all tokens. The loss is the cross-entropy of `sufficiency.Head`. A quarter of the images is held out; the weights of the
lowest loss on it are kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from grip_vlm.sufficiency import Curve, Head

STEPS, BATCH, EVERY = 800, 256, 20
RATE, DECAY = 1e-2, 1.0  # with less decay, 1,500 questions are learned by heart (docs/log.md, 2026-11-30)


def fit(seen: Tensor, counts: Tensor, n: Tensor, good: Tensor, images: Sequence[str], seed: int = 0) -> Head:
    """A head, in eval mode on the CPU.

    Args:
        seen: (Q, 2d) `sufficiency.features` of the questions.
        counts: (Q, J) tokens kept.
        n: (Q,) visual tokens. Where a count is n there is nothing to learn.
        good: (Q, J) 1.0 where the answer from so many tokens is as good as the answer from all.
        images: (Q,) identifiers; questions about one image are on one side of the split.

    Raises:
        ValueError: there are fewer than four images.
    """
    order = sorted(set(images))
    if len(order) < 4:
        raise ValueError(f"the head needs questions about at least four images to learn from, got {len(order)}")
    generator = torch.Generator().manual_seed(seed)
    place = dict(zip(order, torch.randperm(len(order), generator=generator).tolist(), strict=True))
    held = torch.tensor([place[image] < max(1, len(order) // 4) for image in images])
    mean, scale = seen[~held].mean(0), seen[~held].std(0, unbiased=False).clamp(min=1e-6)
    inputs, wanted = (seen - mean) / scale, (counts < n[:, None]).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = Head(seen.shape[1] // 2)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    best, best_loss = {name: weight.clone() for name, weight in head.state_dict().items()}, torch.inf
    rows = (~held).nonzero()[:, 0]
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = RATE * (1 - (step - 1) / STEPS)
        chosen = rows[torch.randint(len(rows), (BATCH,), generator=generator)]
        loss = cross_entropy(head.curve(inputs[chosen]), counts[chosen], wanted[chosen], good[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                score = float(cross_entropy(head.curve(inputs[held]), counts[held], wanted[held], good[held]))
            if score < best_loss:
                best, best_loss = {name: weight.clone() for name, weight in head.state_dict().items()}, score
    head.load_state_dict(best)
    return absorb(head, mean, scale)


def cross_entropy(curve: Curve, counts: Tensor, wanted: Tensor, good: Tensor) -> Tensor:
    """Mean over the counts (B, J) that `wanted` (B, J) marks."""
    logits = curve.level[:, None] + curve.slope[:, None] * counts.double().log()  # (B, J)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, good.double(), reduction="none")
    return (losses * wanted).sum() / wanted.sum().clamp(min=1)


@torch.no_grad()
def absorb(head: Head, mean: Tensor, scale: Tensor) -> Head:
    """The head that reads features as they are, in place of (features - mean) / scale."""
    head.inner.weight /= scale
    head.inner.bias.sub_(head.inner.weight @ mean)
    return head.eval().requires_grad_(False)
