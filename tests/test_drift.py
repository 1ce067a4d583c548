"""Questions like the calibration's raise no warning, and others do: by simulation, where the truth is known."""

import torch

from grip_vlm.drift import Watch, p_value
from grip_vlm.sufficiency import Curve


def curves(count, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return Curve(
        torch.randn(count, generator=generator).double() + shift, torch.rand(count, generator=generator).double() + 0.5
    )


def test_questions_of_the_same_kind_raise_no_warning():
    watch = Watch(curves(512, 0))
    assert not any(watch.look(curves(32, seed)) for seed in range(1, 60))


def test_questions_of_another_kind_raise_one():
    watch = Watch(curves(512, 0))
    warned = [bool(watch.look(curves(32, seed, shift=0.8))) for seed in range(1, 8)]
    assert warned.index(True) == 3  # with the question that makes it a hundred


def test_the_p_value_is_seldom_small_where_both_are_alike():
    reference = curves(512, 0)
    small = sum(p_value(reference, curves(200, seed)) < 0.05 for seed in range(1, 201))
    assert small <= 20  # at most 5 %, and one reference is shared by all
