"""The outlines of nine shapes, and their masks with smooth edges."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]
FINE = 4  # a mask is drawn this many times larger and then averaged


def _turned(radii: list[float]) -> list[Point]:
    """Corners at these distances from the middle, at even angles, the first one at the top."""
    angles = [2 * math.pi * i / len(radii) for i in range(len(radii))]
    return [(radius * math.sin(a), -radius * math.cos(a)) for radius, a in zip(radii, angles, strict=True)]


@cache
def outline(shape: str) -> tuple[Point, ...]:
    """The corners of a shape in the unit square centred on the origin; of a ring, those of its outer edge.

    Raises:
        ValueError: no shape of this name.
    """
    arm, turns = 0.17, [2 * math.pi * i / 32 for i in range(32)]
    if shape in ("circle", "ring"):
        return tuple(_turned([0.5] * 32))
    if shape == "square":
        return (-0.44, -0.44), (0.44, -0.44), (0.44, 0.44), (-0.44, 0.44)
    if shape == "triangle":
        return (0, -0.5), (0.5, 0.42), (-0.5, 0.42)
    if shape == "diamond":
        return (0, -0.5), (0.36, 0), (0, 0.5), (-0.36, 0)
    if shape == "star":
        return tuple(_turned([0.52, 0.21] * 5))
    if shape == "cross":
        right = [(arm, -0.5), (arm, -arm), (0.5, -arm), (0.5, arm), (arm, arm), (arm, 0.5)]
        return (*right, *((-x, -y) for x, y in right))
    if shape == "heart":
        return tuple(
            (0.5 * math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)) / 30)
            for t in turns
        )
    if shape == "moon":
        out = [(0.5 * math.cos(a) + 0.1, 0.5 * math.sin(a)) for a in np.linspace(0.28, 1.72, 20) * math.pi]
        back = [(0.42 * math.cos(a) + 0.34, 0.42 * math.sin(a)) for a in np.linspace(1.61, 0.39, 20) * math.pi]
        return tuple((x + 0.06, y) for x, y in (*out, *back))
    raise ValueError(f"no shape {shape!r}")


@cache
def mask(shape: str, box: int, size: int, shift: Point, turn: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much of each pixel a shape covers: with its edge line, and without, each (box, box).

    Args:
        size: pixels across.
        shift: of its middle from that of the box, in pixels.
        turn: degrees.
    """
    whole, inner = (_filled(shape, box, size - 2.4 * thinner, shift, turn, thinner) for thinner in (0, 1))
    return whole, inner


def _filled(shape: str, box: int, size: float, shift: Point, turn: int, thinner: int) -> NDArray[np.float32]:
    image = Image.new("L", (box * FINE,) * 2)
    draw = ImageDraw.Draw(image)
    middle_x, middle_y = box / 2 + shift[0], box / 2 + shift[1]
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def corners(scale: float) -> list[Point]:
        turned = [(scale * (cos * x - sin * y), scale * (sin * x + cos * y)) for x, y in outline(shape)]
        return [((middle_x + x) * FINE, (middle_y + y) * FINE) for x, y in turned]

    draw.polygon(corners(size), fill=255)
    if shape == "ring":
        draw.polygon(corners(size * (0.46 if thinner == 0 else 0.62)), fill=0)
    return np.asarray(image.resize((box, box), Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
