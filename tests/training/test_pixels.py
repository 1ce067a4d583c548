"""A limit on pixels holds for processors that know one, and is refused by the others."""

import pytest
import tiny
from tiny._tiny import noise

from grip_vlm import vlms
from grip_vlm.training.dry_run import count_tokens
from grip_vlm.training.pixels import limit_pixels, too_many


@pytest.fixture
def qwen():
    built = tiny.load("qwen2_vl")
    return vlms.wrap(built.model, built.processor, "qwen")


def test_larger_images_are_scaled_down_and_smaller_ones_are_left(qwen, examples):
    large, small = noise(48, 32, 0), noise(16, 16, 1)
    before = [tokens(qwen, image) for image in (large, small)]
    limit_pixels(qwen, 32 * 16)
    after = [tokens(qwen, image) for image in (large, small)]
    assert before == [24, 4]
    assert after == [6, 4]  # 24 x 16 pixels


def tokens(vlm, image):
    inputs = vlm.process([image], ["<|vision_start|><|image_pad|><|vision_end|> what ?"])
    return int(vlm.placeholders(inputs["input_ids"], "image").sum())


def test_no_limit_changes_nothing(qwen):
    before = dict(qwen.processor.image_processor.size)
    limit_pixels(qwen, 0)
    assert dict(qwen.processor.image_processor.size) == before


def test_a_processor_without_a_limit_is_named(vlm):
    with pytest.raises(ValueError, match=r"the image processor of .* \(CLIPImageProcessor.*\) has no limit on pixels"):
        limit_pixels(vlm, 1000)


def test_a_limit_below_the_processors_smallest_image_is_refused(qwen):
    with pytest.raises(ValueError, match="'qwen' scales images to at least 256 pixels; --max-pixels 100 is less"):
        limit_pixels(qwen, 100)


def test_tokens_beyond_the_limit_are_warned_of(qwen):
    assert too_many(qwen, 0, [1000]) == ""
    assert too_many(qwen, 64 * 10, [10, 4]) == ""
    assert too_many(qwen, 64 * 10, [10, 12, 15]) == (
        "warning: 2 of 3 images have more tokens than --max-pixels 640 allows (10): up to 15"
    )


def test_tokens_are_counted_as_the_encoder_counts_them(vlm, examples):
    example = examples[0]
    state = vlm.encode(vlm.inputs([example.image], [example.question])).state
    assert count_tokens(vlm, example) == int(state.counts[0])
