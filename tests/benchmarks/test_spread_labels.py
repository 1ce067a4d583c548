"""What a patch of the larger world is said to show is what it shows, and nothing that stands elsewhere."""

import numpy as np
import pytest

from grip_vlm.benchmarks.spread import GRID, LAYOUTS, PRESENT, VOCABULARIES, compose
from grip_vlm.benchmarks.spread.labels import patch_labels

FIELDS = list(VOCABULARIES)


def scenes(layout, count=10):
    return [compose("dev", index, layout=layout) for index in range(count)]


def said(scene, patch):
    """The label of a patch by name."""
    row = scene.labels.reshape(GRID * GRID, -1)[patch]
    return {field: VOCABULARIES[field][value - 1] for field, value in zip(FIELDS, row, strict=True) if value}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_classes_of_their_vocabularies(layout):
    for scene in scenes(layout):
        assert scene.labels.shape == (GRID, GRID, len(FIELDS))
        assert (scene.labels.reshape(-1, len(FIELDS)).max(0) <= [len(names) for names in VOCABULARIES.values()]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_label_of_a_patch_depends_on_the_thing_on_it_alone(layout):
    """Of each thing alone, its patches are labelled as among all the others, and its removal changes no other patch."""
    for scene in scenes(layout, 4):
        whole = scene.labels.reshape(GRID * GRID, -1)
        for thing in scene.things:
            own = list(thing.patches)
            alone = patch_labels((thing,), scene.ground).reshape(GRID * GRID, -1)
            rest = scene.without(thing).labels.reshape(GRID * GRID, -1)
            assert (alone[own] == whole[own]).all()
            assert (np.delete(rest, own, axis=0) == np.delete(whole, own, axis=0)).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_patch_has_a_ground_exactly_where_no_thing_is(layout):
    for scene in scenes(layout):
        taken = {patch for thing in scene.things for patch in thing.patches}
        for patch in range(GRID * GRID):
            assert said(scene, patch).get("ground") == (None if patch in taken else scene.ground)


def test_each_character_is_named_on_its_own_patches():
    for layout in ("signs", "page", "diagram", "chart"):
        for scene in scenes(layout):
            for text in scene.of("text"):
                read = [{said(scene, patch)["character"] for patch in patches} for patches in text.characters]
                assert read == [{character} for character in text.name]


def test_a_frame_is_named_by_its_colour_and_tells_nothing_of_the_text_in_it():
    for scene in scenes("signs"):
        for text in scene.of("text"):
            assert {tuple(said(scene, patch).items()) for patch in text.frame} == {
                (("part", "frame"), ("colour", text.colour))
            }


def test_the_head_of_an_arrow_shows_where_it_points_and_its_shaft_only_the_axis():
    for scene in scenes("diagram"):
        for arrow in scene.of("arrow"):
            x0, y0, x1, y1 = arrow.line
            (head,) = {said(scene, patch)["direction"] for patch in arrow.head}
            (axis,) = {said(scene, patch)["direction"] for patch in arrow.shaft}
            assert ("west" in head) <= (x1 < x0)
            assert ("south" in head) <= (y1 > y0)
            one, other = axis.split("-")
            assert head in (one, other)


def test_what_is_present_is_what_some_patch_shows():
    for layout in LAYOUTS:
        for scene in scenes(layout, 4):
            shown = {f"{field}: {name}" for at in range(GRID * GRID) for field, name in said(scene, at).items()}
            assert {name for name, there in zip(PRESENT, scene.present, strict=True) if there} == shown
