"""The head learns curves that are known."""

import pytest
import torch

from grip_vlm.sufficiency import Head, steps
from grip_vlm.training.sufficiency import cross_entropy, fit


def world(count, seed=0):
    """Questions whose level is twice their first feature and whose slope is 1; features far from unit scale."""
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(count, 4, generator=generator) * torch.tensor([1.0, 30.0, 0.01, 1.0]) + 5.0
    level = 2 * (seen[:, 0] - 5) - 1
    counts = torch.tensor([steps(64)] * count)
    p = torch.sigmoid(level[:, None] + counts.log())
    good = (torch.rand(p.shape, generator=generator) < p).float()
    return seen, counts, torch.full((count,), 64), good, level, [str(i) for i in range(count)]


@pytest.mark.slow
def test_the_head_finds_a_level_that_a_feature_tells():
    seen, counts, n, good, _, images = world(1500)
    head = fit(seen, counts, n, good, images)
    new, _, _, _, level, _ = world(300, seed=9)
    with torch.no_grad():
        curve = head.curve(new)
    assert torch.corrcoef(torch.stack([curve.level, level.double()]))[0, 1] > 0.97
    assert abs(float(curve.slope.mean()) - 1) < 0.15


def test_the_same_questions_give_the_same_head():
    seen, counts, n, good, _, images = world(60)
    one, other = (fit(seen, counts, n, good, images).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_count_of_all_tokens_teaches_nothing():
    seen, counts, n, good, _, _ = world(60)
    head = Head(2).requires_grad_(False)
    curve, wanted = head.curve(seen), (counts < n[:, None]).double()
    other = good.clone()
    other[:, -1] = 1 - other[:, -1]
    assert float(cross_entropy(curve, counts, wanted, good)) == float(cross_entropy(curve, counts, wanted, other))


def test_three_images_are_too_few():
    seen, counts, n, good, _, images = world(3)
    with pytest.raises(ValueError, match="at least four images"):
        fit(seen, counts, n, good, images)
