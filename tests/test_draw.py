"""Kept patches stay bright and are outlined, dropped ones are dimmed."""

import numpy as np
import pytest
from PIL import Image

from grip_vlm import draw

OUTLINE = (255, 196, 0)


@pytest.fixture
def red():
    return Image.new("RGB", (112, 112), (200, 60, 40))


def centre(image, index, side):
    """The pixel in the middle of a patch."""
    cell = image.width / side
    return image.getpixel((int((index % side + 0.5) * cell), int((index // side + 0.5) * cell)))


def test_a_kept_patch_keeps_its_colour(red):
    assert centre(draw.draw_kept(red, [17], (14, 14)), 17, 14) == (200, 60, 40)


def test_every_dropped_patch_is_dimmed(red):
    drawn = draw.draw_kept(red, [0, 17, 195], (14, 14))
    dim = [centre(drawn, index, 14) for index in range(196) if index not in (0, 17, 195)]
    assert all(max(colour) < 80 for colour in dim)


def test_only_kept_patches_are_outlined(red):
    pixels = np.asarray(draw.draw_kept(red, [17], (14, 14)))  # row 1, column 3 of 24-pixel cells
    rows, columns = np.nonzero((pixels == OUTLINE).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 47, 72, 95)
    assert len(rows) == 4 * 24 - 4


def test_the_outlines_of_neighbours_are_both_drawn(red):
    pixels = np.asarray(draw.draw_kept(red, [17, 18], (14, 14)))
    assert (pixels == OUTLINE).all(-1).sum() == 2 * (4 * 24 - 4)


def test_patches_are_counted_in_rows_from_the_top_left(red):
    drawn = draw.draw_kept(red, [1], (2, 2))
    assert [max(centre(drawn, index, 2)) > 100 for index in range(4)] == [False, True, False, False]


def test_cells_that_are_no_whole_number_of_pixels_cover_the_image(red):
    pixels = np.asarray(draw.draw_kept(red, range(25), (5, 5), size=112))
    outlined = (pixels == OUTLINE).all(-1)
    assert outlined[0].all()
    assert outlined[-1].all()
    assert (pixels[~outlined] == (200, 60, 40)).all()


def test_nothing_kept_is_all_dimmed(red):
    assert np.asarray(draw.draw_kept(red, [], (14, 14))).max() < 80


@pytest.mark.parametrize(("mode", "size"), [("L", (30, 50)), ("RGBA", (200, 100)), ("P", (8, 8))])
def test_an_image_of_any_mode_and_size_becomes_a_square_of_rgb(mode, size):
    drawn = draw.draw_kept(Image.new(mode, size), [0], (14, 14), size=224)
    assert (drawn.mode, drawn.size) == ("RGB", (224, 224))


def test_the_image_itself_is_left_alone(red):
    before = red.tobytes()
    draw.draw_kept(red, [3], (14, 14), size=112)
    assert red.tobytes() == before


def test_a_grid_may_have_more_columns_than_rows(red):
    drawn = draw.draw_kept(red, [5], (2, 4), size=112)  # row 1, column 1
    rows, columns = np.nonzero((np.asarray(drawn) == OUTLINE).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (56, 111, 28, 55)


def test_a_caption_adds_its_lines_below_the_image(red):
    captioned = draw.caption(red, [("one", "black"), ("two", "red")])
    assert captioned.size == (112, 112 + 2 * 20 + 6)
    assert captioned.crop((0, 0, 112, 112)).tobytes() == red.tobytes()
    below = captioned.crop((0, 112, 112, captioned.height))
    assert len(set(below.convert("L").tobytes())) > 1


def test_a_wider_caption_centres_the_image(red):
    captioned = draw.caption(red, [("one", "black")], width=132)
    assert captioned.crop((10, 0, 122, 112)).tobytes() == red.tobytes()


def test_a_sheet_has_room_for_its_widest_column_and_highest_row(red):
    small = red.resize((50, 40))
    assert draw.sheet([[red, small], [small]], gap=10).size == (112 + 50 + 30, 112 + 40 + 30)


def test_a_sheet_puts_cells_in_rows_and_columns(red):
    blue = Image.new("RGB", (20, 20), "blue")
    sheet = draw.sheet([[blue, red], [red, blue]], gap=4)
    assert sheet.crop((4, 4, 24, 24)).tobytes() == blue.tobytes()
    assert sheet.crop((120, 4, 232, 116)).tobytes() == red.tobytes()
    assert sheet.crop((4, 120, 116, 232)).tobytes() == red.tobytes()


def test_saving_writes_one_png_and_makes_its_folder(red, tmp_path):
    draw.save(red, tmp_path / "a" / "b.png")
    with Image.open(tmp_path / "a" / "b.png") as image:
        assert (image.format, image.size) == ("PNG", (112, 112))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
