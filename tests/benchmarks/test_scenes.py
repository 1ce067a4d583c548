"""A scene is reproducible, and what it says about itself is what its pixels and dense labels show."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from grip_vlm.benchmarks.scenes import SPLITS, Item, compose
from grip_vlm.benchmarks.scenes.compose import GRID, LAYOUTS, PATCH, SIZE
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, LETTERS, SHAPES
from grip_vlm.benchmarks.scenes.pixels import digits
from pool import DENSE, FRAME, SHAFT, TIP, dense_labels

pytestmark = pytest.mark.slow


def scenes(layout, count=60, crowded=False):
    return [compose("dev", index, layout, crowded=crowded) for index in range(count)]


def gap(a, b):
    """Free patches between two items, by row and by column; negative where they overlap."""
    rows = max(a.row, b.row) - min(a.row, b.row) - 2
    columns = max(a.column, b.column) - min(a.column + a.width, b.column + b.width)
    return rows, columns


@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_the_same_arguments_give_the_same_scene(layout):
    one, two = compose("train", 7, layout, seed=3), compose("train", 7, layout, seed=3)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.items == two.items


def test_every_index_gives_other_pixels():
    assert len({scene.image.tobytes() for scene in scenes(None)}) == 60


def test_another_seed_gives_other_pixels():
    assert compose("dev", 0, seed=0).image.tobytes() != compose("dev", 0, seed=1).image.tobytes()


def test_another_split_gives_other_pixels():
    assert len({compose(split, 0).image.tobytes() for split in SPLITS}) == 3


def test_a_scene_is_112_pixels_of_rgb():
    image = compose("test", 0).image
    assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")


def test_every_layout_comes_up_when_none_is_asked_for():
    assert {scene.layout for scene in scenes(None)} == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_asked_for_is_composed(layout):
    assert {scene.layout for scene in scenes(layout, 5)} == {layout}


def test_no_handwritten_digit_is_in_two_splits():
    found = [{ink.tobytes() for ink in digits(split)[0]} for split in SPLITS]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


def test_the_splits_together_hold_every_handwritten_digit():
    found = sorted((ink.tobytes(), int(shown)) for split in SPLITS for ink, shown in zip(*digits(split), strict=True))
    data = load_digits()
    inks = (data.images / 16).astype(np.float32)
    assert found == sorted((ink.tobytes(), int(shown)) for ink, shown in zip(inks, data.target, strict=True))


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_all_ten_digits(split):
    assert set(digits(split)[1].tolist()) == set(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_items_keep_a_patch_of_distance_from_each_other_and_from_the_edge(layout, crowded):
    for scene in scenes(layout, 15 if crowded else 60, crowded):
        for at, item in enumerate(scene.items):
            assert 1 <= item.row <= GRID - 3
            assert 1 <= item.column <= GRID - 1 - item.width
            for other in scene.items[:at]:
                assert max(gap(item, other)) >= 1, (item, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_crowded_scene_holds_more_things(layout):
    few, many = ([len(scene.items) for scene in scenes(layout, 10, crowded)] for crowded in (False, True))
    assert np.mean(many) > np.mean(few) + 0.5


@pytest.mark.parametrize("crowded", [False, True])
def test_every_arrow_is_ten_pixels_long_at_least(crowded):
    found = [(scene, item) for scene in scenes("diagram", 10, crowded) for item in scene.of("shape")]
    assert min(math.dist(*scene.arrow(item)) for scene, item in found) > 9.99


def test_shapes_in_a_crowded_scene_are_smaller():
    """Of a shape alone, the share of its box that has its colour."""

    def filled(crowded):
        shares = []
        for scene in scenes("objects", 20, crowded):
            for item in scene.items:
                box = np.asarray(scene.image)[item.row * PATCH :, item.column * PATCH :][: 2 * PATCH, : 2 * PATCH]
                shares.append((box == COLOURS[item.colour]).all(2).mean())
        return np.mean(shares)

    assert filled(True) < 0.7 * filled(False)


def test_every_item_of_a_diagram_is_the_partner_of_its_partner():
    for scene in scenes("diagram"):
        for item in scene.items:
            other = scene.partner(item)
            assert other is not None
            assert {item.kind, other.kind} == {"shape", "label"}
            assert scene.partner(other) is item


def test_every_arrow_of_a_diagram_runs_in_its_shapes_colour_to_its_label():
    for scene in scenes("diagram"):
        pixels = np.asarray(scene.image).astype(int)
        for shape in scene.of("shape"):
            label = scene.partner(shape)
            assert label is not None
            assert arrow_share(pixels, shape, label) >= 0.5, (shape, label)


def test_no_line_in_a_shapes_colour_runs_to_a_label_that_is_not_its_own():
    shares = []
    for scene in scenes("diagram"):
        pixels = np.asarray(scene.image).astype(int)
        pairs = [(s, label) for s in scene.of("shape") for label in scene.of("label") if scene.partner(s) is not label]
        shares += [arrow_share(pixels, *pair) for pair in pairs]
    assert np.mean(np.array(shares) >= 0.5) < 0.05


def arrow_share(pixels, shape, label):
    """How much of the way from a shape to a label is within a pixel of the shape's colour; arrows may cross others."""
    length = math.dist(shape.centre, label.centre)
    hits = []
    for share in np.arange(12, length - 19) / length:
        x, y = (round(a + share * (b - a)) for a, b in zip(shape.centre, label.centre, strict=True))
        near = pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
        hits.append((near == COLOURS[str(shape.colour)]).all(1).any())
    return float(np.mean(hits))


def test_the_shapes_and_labels_of_a_diagram_all_differ():
    for scene in scenes("diagram"):
        for kind in ("shape", "label"):
            names = [item.name for item in scene.of(kind)]
            assert len(set(names)) == len(names) >= 3
        colours = [shape.colour for shape in scene.of("shape")]
        assert len(set(colours)) == len(colours)


def test_a_signs_shape_stands_one_patch_beside_its_number():
    pairs = [(n, scene.partner(n)) for scene in scenes("signs") for n in scene.of("number") if n.partner is not None]
    assert len(pairs) > 100
    for number, shape in pairs:
        assert shape is not None
        assert number.row == shape.row
        assert gap(number, shape)[1] == 1


@pytest.mark.parametrize("layout", ["number", "signs"])
def test_numbers_do_not_begin_with_zero(layout):
    names = [number.name for scene in scenes(layout) for number in scene.of("number")]
    assert names
    assert not [name for name in names if name.startswith("0")]


def test_an_unknown_split_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'validation'; choose from train, dev, test"):
        compose("validation", 0)


def test_an_unknown_layout_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'maze'; choose from objects, number, signs, diagram"):
        compose("train", 0, "maze")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dense_kinds_mark_every_item_and_nothing_else(layout):
    for scene in scenes(layout):
        kinds = np.zeros((GRID, GRID), dtype=int)
        for item in scene.items:
            if item.kind == "number" and item.colour is not None:
                kinds[item.row - 1 : item.row + 3, item.column - 1 : item.column + item.width + 1] = 23
        for item in scene.items:
            rows = slice(item.row, item.row + 2)
            if item.kind == "number":
                for i, digit in enumerate(item.name):
                    kinds[rows, item.column + 2 * i : item.column + 2 * i + 2] = 7 + int(digit)
            else:
                kind = 1 + SHAPES.index(item.name) if item.kind == "shape" else 17 + LETTERS.index(item.name)
                kinds[rows, item.column : item.column + 2] = kind
        found = dense_labels(scene)[:, 0].reshape(GRID, GRID)
        assert np.where(np.isin(found, (SHAFT, TIP)), 0, found).tolist() == kinds.tolist()


def test_dense_labels_follow_every_arrow_to_a_tip_before_its_label():
    for scene in scenes("diagram"):
        labels = dense_labels(scene).reshape(GRID, GRID, -1)
        colours = [1 + list(COLOURS).index(str(shape.colour)) for shape in scene.of("shape")]
        shown = np.isin(labels[..., 0], (SHAFT, TIP))
        assert set(labels[shown][:, 1]) <= set(colours)
        for shape, colour in zip(scene.of("shape"), colours, strict=True):
            _, tip = scene.arrow(shape)
            around = labels[int(tip[1]) // PATCH, int(tip[0]) // PATCH]
            assert around[0] in (SHAFT, TIP) or around[0] > 16, (shape, tip)
            if around[0] == TIP and around[1] == colour:
                assert around[list(DENSE).index("partner_letter")] == 1 + LETTERS.index(scene.partner(shape).name)


@pytest.mark.parametrize("layout", ["number", "signs", "objects"])
def test_no_arrow_leaves_what_points_to_no_label(layout):
    assert not [item for scene in scenes(layout, 20) for item in scene.items if scene.arrow(item) is not None]


def test_dense_labels_count_what_shares_a_shapes_colour_and_its_kind():
    for scene in scenes("objects"):
        labels = dense_labels(scene).reshape(GRID, GRID, -1)
        for item in scene.items:
            found = dict(zip(DENSE, labels[item.row, item.column].tolist(), strict=True))
            assert found["same_colour"] == sum(other.colour == item.colour for other in scene.items)
            assert found["same_shape"] == sum(other.name == item.name for other in scene.items)
            assert (found["row"], found["column"]) == (item.row + 1, item.column + 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dense_labels_name_the_colour_and_the_partner_of_every_item(layout):
    columns = list(DENSE)
    for scene in scenes(layout):
        labels = dense_labels(scene).reshape(GRID, GRID, -1)
        for item in scene.items:
            found = dict(zip(columns, labels[item.row, item.column].tolist(), strict=True))
            partner = scene.partner(item)
            shape = partner if partner is not None and partner.kind == "shape" else None
            letter = partner.name if partner is not None and partner.kind == "label" else None
            assert found["colour"] == (0 if item.colour is None else 1 + list(COLOURS).index(item.colour))
            assert found["partner_shape"] == (0 if shape is None else 1 + SHAPES.index(shape.name))
            assert found["partner_colour"] == (0 if shape is None else 1 + list(COLOURS).index(str(shape.colour)))
            assert found["partner_letter"] == (0 if letter is None else 1 + LETTERS.index(letter))


def test_dense_labels_read_a_number_from_its_first_digit():
    for scene in scenes("number"):
        (number,) = scene.of("number")
        read = dense_labels(scene).reshape(GRID, GRID, -1)[number.row, number.column, 2:6].tolist()
        assert "".join(str(digit - 1) for digit in read if digit) == number.name


def test_an_item_measures_its_centre_in_pixels():
    assert Item("shape", "star", "red", row=3, column=5, width=2).centre == (6 * PATCH, 4 * PATCH)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_item_stands_on_the_patches_that_are_labelled_as_it(layout):
    for scene in scenes(layout, 20):
        kinds = dense_labels(scene)[:, 0]
        shown = sorted(patch for item in scene.items for patch in item.patches)
        assert shown == [int(i) for i in np.flatnonzero((kinds > 0) & (kinds < FRAME))]
