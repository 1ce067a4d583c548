"""Drawing of one item: shapes, framed handwritten numbers, letter labels and arrows."""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grip_vlm.benchmarks.scenes.pixels import handwritten

COLOURS = {
    "red": (214, 40, 36),
    "green": (48, 168, 64),
    "blue": (44, 84, 226),
    "yellow": (240, 214, 40),
    "purple": (158, 56, 196),
    "white": (246, 246, 246),
}
FRAMES = tuple(name for name in COLOURS if name != "white")  # a white frame is invisible on a white plate
SHAPES = ("circle", "square", "triangle", "cross", "star", "heart")
LETTERS = "ABCDEF"
DARK = (24, 24, 24)
LIGHT = (244, 244, 236)
Point = tuple[float, float]


@cache
def outline(shape: str) -> list[Point]:
    """The corners of a shape in the unit square centred on the origin."""
    if shape == "square":
        return [(-0.44, -0.44), (0.44, -0.44), (0.44, 0.44), (-0.44, 0.44)]
    if shape == "triangle":
        return [(0, -0.5), (0.5, 0.42), (-0.5, 0.42)]
    if shape == "cross":
        arm = 0.17
        right: list[Point] = [(arm, -0.5), (arm, -arm), (0.5, -arm), (0.5, arm), (arm, arm), (arm, 0.5)]
        return right + [(-x, -y) for x, y in right]
    if shape == "star":
        corners = [(math.pi * (i / 5 - 0.5), 0.5 if i % 2 == 0 else 0.2) for i in range(10)]
        return [(radius * math.cos(turn), radius * math.sin(turn)) for turn, radius in corners]
    if shape == "heart":
        turns = [2 * math.pi * i / 24 for i in range(24)]
        return [
            (0.5 * math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)) / 30)
            for t in turns
        ]
    return [(0.5 * math.cos(math.pi * i / 12), 0.5 * math.sin(math.pi * i / 12)) for i in range(24)]


def draw_shape(draw: ImageDraw.ImageDraw, shape: str, colour: str, centre: Point, size: float) -> None:
    """A filled shape with a thin dark edge, `size` pixels across."""
    corners = [(centre[0] + size * x, centre[1] + size * y) for x, y in outline(shape)]
    draw.polygon(corners, fill=COLOURS[colour], outline=DARK)


def draw_number(
    image: Image.Image, rng: np.random.Generator, split: str, number: str, frame: str | None, left: int, top: int
) -> None:
    """Handwritten digits of 16 pixels each on a plate, in a frame of the colour `frame` if it is given."""
    ink = np.concatenate([handwritten(rng, split, int(digit), 16) for digit in number], axis=1)
    paper, pen = (LIGHT, DARK) if rng.random() < 0.7 else (DARK, LIGHT)
    mix = ink[..., None] * np.array(pen) + (1 - ink[..., None]) * np.array(paper)
    if frame is not None:
        box = (left - 3, top - 3, left + ink.shape[1] + 2, top + ink.shape[0] + 2)
        ImageDraw.Draw(image).rectangle(box, fill=COLOURS[frame])
    image.paste(Image.fromarray(mix.astype(np.uint8)), (left, top))


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(14)


def draw_label(draw: ImageDraw.ImageDraw, letter: str, left: int, top: int) -> None:
    """A printed letter in a white box of 16 x 16 pixels."""
    draw.rectangle((left, top, left + 15, top + 15), fill=LIGHT, outline=DARK)
    draw.text((left + 8, top + 8), letter, fill=DARK, font=_font(), anchor="mm")


def draw_arrow(draw: ImageDraw.ImageDraw, colour: str, start: Point, end: Point) -> None:
    """A straight arrow with a dark edge. Its colour is that of the shape it starts at."""
    length = math.dist(start, end)
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    neck = (end[0] - 8 * ux, end[1] - 8 * uy)
    draw.line((start, neck), fill=DARK, width=5)
    draw.line((start, neck), fill=COLOURS[colour], width=3)
    head = [end, (neck[0] - 5 * uy, neck[1] + 5 * ux), (neck[0] + 5 * uy, neck[1] - 5 * ux)]
    draw.polygon(head, fill=COLOURS[colour], outline=DARK)
