"""Which methods a page offers for a VLM."""

import pytest

from grip_vlm.serving.choices import load


def test_a_vlm_without_a_shipped_scorer_is_not_offered_grip(vlm_dir):
    choices = load(["tiny-llava", str(vlm_dir)], ["grip", "random"], "float32", 0)
    assert [list(choice.methods) for choice in choices.values()] == [["grip", "random"], ["random"]]


def test_a_scorer_of_another_vlm_is_refused_at_the_start(vlm_dir):
    with pytest.raises(ValueError, match="trained for"):
        load([str(vlm_dir)], ["grip=tiny-llava", "random"], "float32", 0)
