"""Methods that compute only what may decide keep what their plain loops keep, in the same order."""

import pytest
import torch

from grip_vlm.pruners.features import cosines
from grip_vlm.pruners.methods.divprune import farthest_first
from grip_vlm.pruners.methods.scope import certain_best, cover


def plain_cover(attention, similarity, k):
    covered, kept, chosen = torch.zeros_like(attention), torch.zeros_like(attention, dtype=torch.bool), []
    for _ in range(k):
        gain = attention * (similarity - covered[:, None]).clamp(min=0).sum(0)
        chosen.append(int(gain.masked_fill(kept, -torch.inf).argmax()))
        covered = torch.maximum(covered, similarity[:, chosen[-1]])
        kept[chosen[-1]] = True
    return chosen


def plain_farthest_first(visual, k):
    distance = (1 - cosines(visual, visual)).fill_diagonal_(torch.inf)
    chosen, gap = [int(distance.amin(1).argmax())], torch.full_like(distance[0], torch.inf)
    for _ in range(k - 1):
        gap = torch.minimum(gap, distance[chosen[-1]])
        gap[chosen[-1]] = -torch.inf
        chosen.append(int(gap.argmax()))
    return chosen


def features(kind, n, d=24):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=generator)
    if kind == "smooth":
        return torch.randn(n, 3, generator=generator) @ torch.randn(3, d, generator=generator) + 0.2 * x
    if kind == "copies":
        return x[torch.arange(n) % 7]
    return torch.ones(n, d) if kind == "equal" else x


def attention_of(kind, n):
    logits = torch.randn(n, generator=torch.Generator().manual_seed(n + 1))
    scale = {"flat": 0.0, "peaked": 8.0, "none": 0.0}.get(kind, 1.0)
    return (scale * logits).softmax(0) * (kind != "none")


@pytest.mark.parametrize("attention", ["usual", "flat", "peaked", "none"])
@pytest.mark.parametrize("kind", ["random", "smooth", "copies", "equal"])
@pytest.mark.parametrize("n", [1, 2, 63, 65, 300])
def test_scope_covers_as_the_plain_loop_does(kind, attention, n):
    x = features(kind, n)
    for k in {1, n // 7 + 1, n // 2 + 1, n}:
        arguments = attention_of(attention, n), cosines(x, x), k
        assert cover(*arguments).tolist() == plain_cover(*arguments)


def test_scope_leaves_two_gains_that_differ_by_rounding_to_the_plain_loop():
    bound = torch.tensor([1.0, 1.0, 0.5])
    close = torch.tensor([[1.0, 0, 0], [0, 1.0 - 6e-8, 0], [0, 0, 0.5]])
    assert certain_best(bound, torch.ones(3), close, torch.zeros(3)) is None
    clear = torch.tensor([[0.9, 0, 0], [0, 1.0, 0], [0, 0, 0.5]])
    assert certain_best(bound, torch.ones(3), clear, torch.zeros(3)) == 1


@pytest.mark.parametrize("kind", ["random", "smooth", "copies", "equal"])
@pytest.mark.parametrize("n", [1, 2, 65, 300])
def test_divprune_spreads_as_the_plain_loop_does(kind, n):
    x = features(kind, n)
    for k in {1, n // 7 + 1, n}:
        assert farthest_first(x, k).tolist() == plain_farthest_first(x, k)
