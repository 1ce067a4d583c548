"""Where the tokens of a pruned prompt stand in the full one."""

import pytest
import torch

from grip_vlm.serving.vllm.placement import Span, attach, detach, prompt_positions


def test_text_stands_where_it_stood_and_kept_tokens_at_the_first_place_of_their_image():
    # Full: 2 of text, an image of 9 at 2 to 10, 1 of text, an image of 4 at 12 to 15, 3 of text up to 18.
    positions, lead = prompt_positions(9, [Span(2, 2, 9), Span(5, 1, 4)])
    assert positions.tolist() == [[0, 1, 2, 2, 11, 12, 16, 17, 18]] * 3
    assert lead == 10  # the answer's first token is number 9 and stands at 19


def test_a_prompt_without_images_counts():
    positions, lead = prompt_positions(3, [])
    assert positions.tolist() == [[0, 1, 2]] * 3
    assert lead == 0


def test_an_image_may_be_first_and_last():
    positions, lead = prompt_positions(2, [Span(0, 2, 100)])
    assert positions.tolist() == [[0, 0]] * 3
    assert lead == 98


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_places_travel_exactly_in_every_precision(precision):
    features = torch.randn(2**16, 2).to(precision)
    offsets = torch.arange(2**16)[:, None].expand(-1, 3)
    back, places = detach(attach(features, offsets))
    assert torch.equal(back, features)
    assert torch.equal(places, offsets)
