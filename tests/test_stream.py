"""A mean over a stream: exact over every window, deterministic given the order, and given where it is needed."""

from fractions import Fraction

import pytest
import torch

from grip_vlm.stream import Stream
from grip_vlm.sufficiency import Curve


def curves(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Curve(
        torch.randn(count, generator=generator).double() * 3 - 1, torch.rand(count, generator=generator).double() + 0.3
    )


def serve(stream, n, questions):
    ns = [n] * len(questions.level) if isinstance(n, int) else n
    return [stream.take(tokens, questions.row(i)) for i, tokens in enumerate(ns)]


@pytest.mark.parametrize("share", ["0.05", "0.0137", "0.5", "0.9", "1"])
@pytest.mark.parametrize("window", [1, 7, 100])
def test_every_window_has_the_share_to_the_token(share, window):
    stream = Stream(Fraction(share), window, curves(200))
    given = serve(stream, 196, curves(3 * window, seed=1))
    for first in range(0, 3 * window, window):
        wanted = Fraction(share) * 196 * window
        assert abs(sum(given[first : first + window]) - wanted) <= Fraction(1, 2)
    assert all(1 <= k <= 196 for k in given)


def test_the_share_of_a_window_of_different_images_is_met_too():
    generator = torch.Generator().manual_seed(3)
    n = (torch.randint(100, 600, (300,), generator=generator)).tolist()
    given = serve(Stream(Fraction(1, 20), 100, curves(200)), n, curves(300, seed=4))
    for first in range(0, 300, 100):
        wanted = Fraction(sum(n[first : first + 100]), 20)
        assert abs(sum(given[first : first + 100]) - wanted) <= 1


def test_the_same_order_gets_the_same_tokens():
    questions = curves(150, seed=5)
    one, other = (serve(Stream(Fraction(1, 20), 100, curves(200)), 196, questions) for _ in range(2))
    assert one == other


def test_a_stream_goes_on_from_what_was_given():
    questions = curves(60, seed=6)
    whole = Stream(Fraction(1, 10), 25, curves(200))
    expected = serve(whole, 196, questions)
    resumed = Stream(Fraction(1, 10), 25, curves(200))
    for k in expected[:33]:
        resumed.given(196, k)
    assert [resumed.take(196, questions.row(i)) for i in range(33, 60)] == expected[33:]


def test_questions_that_need_more_get_more():
    """Half of the questions are right from one token on; the others gain up to a hundred."""
    easy, hard = (8.0, 1.0), (-4.0, 1.5)
    level, slope = (torch.tensor([easy[i], hard[i]] * 50).double() for i in (0, 1))
    both = Curve(level, slope)
    given = serve(Stream(Fraction(1, 20), 100, both), 196, both)
    assert sum(given[0:98:2]) / 49 < 3 < 12 < sum(given[1:98:2]) / 49


def test_a_share_below_one_token_gives_one_token():
    assert serve(Stream(Fraction(1, 1000), 10, curves(50)), 196, curves(20)) == [1] * 20


def test_what_a_small_last_image_cannot_take_goes_to_the_next_window():
    """The purse is not lost where the last question of a window has too few tokens."""
    wants_nothing = Curve(torch.full((4,), 50.0).double(), torch.full((4,), 1.0).double())
    stream = Stream(Fraction(1, 2), 2, wants_nothing)
    first = stream.take(100, wants_nothing.row(0))
    second = stream.take(4, wants_nothing.row(1))
    assert second <= 4
    rest = serve(stream, 100, Curve(wants_nothing.level[:2], wants_nothing.slope[:2]))
    assert abs(first + second + sum(rest) - (100 + 4 + 200) / 2) <= 1
