"""The tiny models are true ones: whatever their processors make, the unpruned model takes."""

import pytest
import tiny
import torch

QUESTION = "what is in the image ?"
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # two processors' own
every_family = pytest.mark.parametrize("name", tiny.names())


@torch.no_grad()
def logits(family, inputs):
    out = family.model(**inputs).logits  # (B, L, V)
    assert out.shape[:2] == inputs["input_ids"].shape
    return out


def placeholders(family, inputs):
    return (inputs["input_ids"] == family.model.config.image_token_id).sum(1).tolist()


@every_family
def test_one_image_gives_finite_logits(name):
    family = tiny.load(name)
    assert logits(family, family.inputs([(family.images(1), QUESTION)])).isfinite().all()


@every_family
def test_two_images_of_different_sizes_in_one_sample_give_finite_logits(name):
    family = tiny.load(name)
    assert logits(family, family.inputs([(family.images(2), QUESTION)])).isfinite().all()


@every_family
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_ragged_batch_with_a_text_only_row_gives_finite_logits(name, side):
    family = tiny.load(name)
    first, second, third = family.images(3)
    samples = [([first, second], QUESTION), ([], "how many dog are there ?"), ([third], "which shape ?")]
    inputs = family.inputs(samples, padding_side=side)
    many, none, some = placeholders(family, inputs)
    assert many > 0 < some != many
    assert none == 0
    assert (inputs["attention_mask"][1, 0 if side == "left" else -1] == 0).all()
    assert logits(family, inputs)[inputs["attention_mask"].bool()].isfinite().all()


@every_family
def test_two_clips_give_finite_logits(name):
    family = tiny.load(name)
    if not family.video:
        pytest.skip("without video")
    inputs = family.video_inputs(family.clips)
    assert "pixel_values_videos" in inputs or name == "internvl"  # whose frames are tiles among those of images
    if "video_grid_thw" in inputs:  # frames in pairs, the last one alone in its pair if need be
        assert inputs["video_grid_thw"][:, 0].tolist() == [-(-frames // 2) for frames in family.clips]
    assert logits(family, inputs).isfinite().all()


@every_family
def test_the_answer_depends_on_the_image(name):
    family = tiny.load(name)
    one, other = (logits(family, family.inputs([(family.images(1, seed), QUESTION)]))[0, -1] for seed in (1, 2))
    assert (one - other).abs().max() > 0.5  # of logits with a standard deviation of 1


@every_family
def test_a_file_is_named_as_its_model_type_with_what_it_varies_behind(name):
    family = tiny.load(name)
    assert family.name == name
    assert name.startswith(family.model.config.model_type)


@every_family
def test_a_family_has_the_same_weights_every_time_and_leaves_the_random_state_alone(name):
    before = torch.random.get_rng_state()
    one, two = (tiny.load(name).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_family
def test_generations_have_the_asked_length(name):
    family = tiny.load(name)
    inputs = family.inputs([(family.images(1), QUESTION)])
    image_token = family.model.config.image_token_id  # random weights may say it, and few models can read it back
    out = family.model.generate(**inputs, max_new_tokens=3, suppress_tokens=[image_token])
    assert out.shape[1] == inputs["input_ids"].shape[1] + 3
