"""A scene of the larger world is reproducible, its splits share no instance, and a thing stays on its patches."""

import numpy as np
import pytest

from grip_vlm.benchmarks.spread import GRID, LAYOUTS, PATCH, SIZE, SPLITS, compose
from grip_vlm.benchmarks.spread.colours import COLOURS, RGB
from grip_vlm.benchmarks.spread.fonts import fonts
from grip_vlm.benchmarks.spread.pixels import CLOTHES, clothes, digits
from grip_vlm.benchmarks.spread.texts import vocabulary, words

pytestmark = pytest.mark.slow


def scenes(layout, count=12):
    return [compose("dev", index, layout=layout) for index in range(count)]


def changed(one, other):
    """Which patches differ between two images, (576,)."""
    differs = (one.pixels != other.pixels).any(2)
    return differs.reshape(GRID, PATCH, GRID, PATCH).any((1, 3)).reshape(-1)


@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_the_same_arguments_give_the_same_scene(layout):
    one, two = (compose("train", 7, seed=3, layout=layout) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one == two


def test_every_index_gives_other_pixels():
    assert len({scene.image.tobytes() for scene in scenes(None, 40)}) == 40


def test_another_seed_or_split_gives_other_pixels():
    found = [compose("dev", 0), compose("dev", 0, seed=1), compose("test", 0), compose("train", 0)]
    assert len({scene.image.tobytes() for scene in found}) == 4


def test_an_image_has_192_pixels_of_rgb_on_each_side():
    image = compose("test", 0).image
    assert (image.size, image.mode) == ((SIZE, SIZE), "RGB") == ((192, 192), "RGB")


def test_every_layout_comes_up_when_none_is_asked_for():
    assert {scene.layout for scene in scenes(None, 40)} == set(LAYOUTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", 0, 0, "poster"), "unknown layout 'poster'; choose from objects, signs"),
        (("val", 0), "unknown split 'val'; choose from train, dev, test"),
        (("train", -1), "index -1 and seed 0 must not be negative"),
    ],
)
def test_bad_arguments_are_refused_with_what_would_be_right(arguments, said):
    with pytest.raises(ValueError, match=said):
        compose(*arguments)


@pytest.mark.parametrize(
    "instances",
    [
        lambda split: {ink.tobytes() for inks in digits(split) for ink in inks},
        lambda split: {photo.tobytes() for photos in clothes(split) for photo in photos},
        lambda split: set(words(split)),
        lambda split: set(fonts(split)),
    ],
    ids=["digits", "photographs", "words", "fonts"],
)
def test_no_instance_is_in_two_splits(instances):
    found = [instances(split) for split in SPLITS]
    assert min(map(len, found)) > 1
    assert len(set().union(*found)) == sum(map(len, found))


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_every_digit_kind_of_clothes_and_length_of_word(split):
    assert [len(inks) > 10 for inks in digits(split)] == [True] * 10
    assert [len(photos) > 10 for photos in clothes(split)] == [True] * len(CLOTHES)
    assert {len(word) for word in words(split)} == set(range(3, 11))


def test_words_are_three_to_ten_small_letters_and_all_belong_to_a_split():
    assert sorted(word for split in SPLITS for word in words(split)) == list(vocabulary())
    assert all(word.isalpha() and word.islower() and word.isascii() for word in vocabulary())


def test_any_two_colours_are_far_apart():
    for at, one in enumerate(COLOURS):
        for other in COLOURS[:at]:
            assert np.linalg.norm(np.subtract(RGB[one], RGB[other])) > 90, (one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_two_things_share_a_patch_and_none_leaves_the_image(layout):
    for scene in scenes(layout):
        patches = [patch for thing in scene.things for patch in thing.patches]
        assert len(set(patches)) == len(patches)
        assert set(patches) <= set(range(GRID * GRID))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_thing_changes_pixels_on_its_own_patches_and_on_no_others(layout):
    for scene in scenes(layout, 6):
        for thing in scene.things:
            own = np.isin(np.arange(GRID * GRID), thing.patches)
            assert not changed(scene, scene.without(thing))[~own].any(), thing


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_thing_shows_on_each_of_its_patches(layout):
    """A character straight on a page may leave one of its two patches empty; a dot of ink is enough elsewhere."""
    for scene in scenes(layout, 6):
        for thing in scene.things:
            shown = changed(scene, scene.without(thing))
            if thing.part == "text" and not thing.framed and not thing.plate:
                assert all(shown[list(patches)].any() for patches in thing.characters), thing
            elif scene.ground != "page" or thing.part not in ("digit", "photograph"):
                assert shown[list(thing.patches)].all(), thing


def test_what_is_beside_a_sign_is_nearer_to_it_than_anything_else():
    for scene in scenes("signs", 40):
        for sign in scene.of("text"):
            gaps = {}
            for thing in scene.of("shape", "photograph"):
                rows = max(thing.row - sign.row - sign.height, sign.row - thing.row - thing.height, 0)
                columns = max(thing.column - sign.column - sign.width, sign.column - thing.column - thing.width, 0)
                gaps[thing] = columns if rows == 0 else GRID
            nearest = min(gaps, key=gaps.__getitem__)
            assert nearest is scene.partner(sign)
            assert gaps.pop(nearest) == 1
            assert all(gap >= 3 for gap in gaps.values())


def test_bars_differ_in_height_by_a_patch_at_least():
    for scene in scenes("chart", 40):
        heights = [bar.height for bar in scene.of("bar")]
        assert len(set(heights)) == len(heights) >= 3


def test_at_most_one_arrow_leaves_a_thing_and_at_most_one_leads_to_it():
    for scene in scenes("diagram", 40):
        arrows = scene.of("arrow")
        assert len({arrow.source for arrow in arrows}) == len({arrow.target for arrow in arrows}) == len(arrows) >= 3
        assert all(arrow.colour == scene.things[arrow.source].colour for arrow in arrows)
