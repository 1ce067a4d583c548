"""One file is one image, whichever way it comes in: upright, RGB, eight bits."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grip_vlm.benchmarks import data
from grip_vlm.images import as_rgb, open_image


def corners(image):
    """Red, green, blue and white in reading order."""
    width, height = image.size
    return [image.getpixel((x, y)) for y in (0, height - 1) for x in (0, width - 1)]


def painted(size=(30, 20)):
    image = Image.new("RGB", size)
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((size[0] - 1, 0), (0, 255, 0))
    image.putpixel((0, size[1] - 1), (0, 0, 255))
    image.putpixel((size[0] - 1, size[1] - 1), (255, 255, 255))
    return image


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def with_orientation(path, orientation):
    """A file whose pixels are turned, and whose EXIF says how to turn them back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = painted() if orientation == 1 else painted().transpose(TURNS[orientation])
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, orientation):
    path = with_orientation(tmp_path / "photo.png", orientation)
    with Image.open(path) as image:
        ways = [as_rgb(image), as_rgb(path), as_rgb(str(path)), open_image(path)]
    for way in [*ways, open_image("no path", content=path.read_bytes()), as_rgb(ways[0])]:
        assert (way.mode, way.size, corners(way)) == ("RGB", (30, 20), corners(painted()))


def test_a_photo_is_answered_alike_whichever_way_it_comes(vlm, tmp_path):
    path = with_orientation(tmp_path / "photo.png", 6)
    with Image.open(path) as image:
        image.load()
    seen = [vlm.inputs([way], ["Is it?"])["pixel_values"] for way in (image, path, str(path), painted())]
    assert all((pixels == seen[0]).all() for pixels in seen)
    answers = [vlm.answer(way, "Is it?", max_new_tokens=2).text for way in (image, str(path), painted())]
    assert len(set(answers)) == 1
    assert vlm.visible_area(path, "Is it?")[0].size == vlm.visible_area(painted(), "Is it?")[0].size


def grey(mode, values):
    """A single-row image of `values`."""
    kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    return Image.fromarray(np.array([values], dtype=kinds[mode]))


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("I;16", [0, 257, 32896, 65535], [0, 1, 128, 255]),
        ("I;16", [0, 100, 255], [0, 0, 1]),  # a dark image of sixteen bits
        ("I", [0, 1, 128, 255], [0, 1, 128, 255]),
        ("I", [0, 257, 32896, 65535], [0, 1, 128, 255]),
        ("F", [0.0, 0.5, 1.0], [0, 128, 255]),
        ("F", [0.0, 128.0, 255.0], [0, 128, 255]),
    ],
)
def test_deep_grey_is_scaled_and_not_clipped(mode, values, expected):
    found = as_rgb(grey(mode, values))
    assert [found.getpixel((x, 0)) for x in range(len(values))] == [(v, v, v) for v in expected]


def test_a_png_of_sixteen_bits_is_not_white(tmp_path):
    grey("I;16", [0, 20000, 65535]).save(tmp_path / "deep.png")
    assert [as_rgb(tmp_path / "deep.png").getpixel((x, 0))[0] for x in range(3)] == [0, 78, 255]


@pytest.mark.parametrize("values", [[0.0, float("nan")], [-1.0, 1.0], [0.0, 1e6]])
def test_values_that_are_no_image_are_refused(values):
    with pytest.raises(ValueError, match="pixels of mode F must be finite and in"):
        as_rgb(grey("F", values))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white_as_paper_is(mode):
    layer = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    layer.putpixel((1, 0), (0, 0, 0, 255))
    assert [as_rgb(layer.convert(mode)).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=0)
    found = as_rgb(tmp_path / "palette.png")
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("1", 1, (255, 255, 255)), ("L", 7, (7, 7, 7)), ("CMYK", (0, 255, 255, 0), (255, 0, 0)), ("P", 0, (0, 0, 0))],
)
def test_other_modes_are_converted(mode, value, expected):
    image = Image.new(mode, (1, 1), value)
    if mode == "P":
        image.putpalette([0, 0, 0])
    assert as_rgb(image).getpixel((0, 0)) == expected


def test_an_image_that_needs_nothing_is_returned_itself():
    image = painted()
    assert as_rgb(image) is image


@pytest.mark.parametrize("thing", [b"bytes", 3, None, np.zeros((2, 2, 3), np.uint8), [1]])
def test_what_is_no_image_is_refused(vlm, thing):
    with pytest.raises(ValueError, match="an image is a Pillow image or the path of a file, not "):
        vlm.answer(thing, "Is it?")


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="an image of 0 x 5 pixels has nothing to see"):
        as_rgb(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no image file '.*thing'"),
        (lambda path: path.mkdir(), "'.*thing' is not an image that can be read: it is not a file"),
        (os.mkfifo, "'.*thing' is not an image that can be read: it is not a file"),
        (lambda path: path.write_bytes(b""), "'.*thing' is not an image that can be read"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n and"), "'.*thing' is not an image that can be read"),
        (lambda path: path.symlink_to(path), "no image file '.*thing'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, message):
    make(tmp_path / "thing")
    with pytest.raises(ValueError, match=f"^line 3: {message}"):
        open_image(tmp_path / "thing", "line 3")


def test_a_name_that_no_file_can_have_is_named():
    with pytest.raises(ValueError, match=r"no image file 'a\\x00b\.png'"):
        open_image("a\0b.png")


def test_a_photo_that_ends_too_early_is_refused(tmp_path):
    whole = BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "JPEG")
    (tmp_path / "half.jpg").write_bytes(whole.getvalue()[:-400])
    with pytest.raises(ValueError, match=r"half\.jpg' is not an image that can be read"):
        as_rgb(Path(tmp_path / "half.jpg"))


def test_rows_of_a_users_file_are_upright_as_well(tmp_path):
    with_orientation(tmp_path / "photo.png", 8)
    row = {"image": "photo.png", "question": "Is it?", "answers": ["yes"]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    (line,) = data.read_lines(tmp_path / "mine.jsonl")
    assert corners(line.example().image) == corners(painted())
