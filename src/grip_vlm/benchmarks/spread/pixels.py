"""The real pixels: handwritten digits, small photographs of clothes, and the two photographs behind scenes."""

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from grip_vlm.benchmarks.scenes.pixels import jittered
from grip_vlm.benchmarks.spread.splits import check_split, members

# Rows of assets/photographs.png; the four kinds of Fashion-MNIST that are left out look like one another when small.
CLOTHES = ("t-shirt", "trousers", "pullover", "dress", "sandal", "sneaker", "bag", "boot")
ALIKE = 8  # neighbours of a handwritten digit that have to show the same digit
SIDE = 28  # pixels of a photograph of clothes
GROUNDS = ("photo", "noise", "clutter", "plain", "page")
# The part of both large photographs that is behind the scenes of a split, as shares of their width.
STRIPS = {"train": (0.0, 0.62), "dev": (0.62, 0.80), "test": (0.80, 1.0)}


@cache
def digits(split: str) -> tuple[tuple[NDArray[np.float32], ...], ...]:
    """The handwritten digits of one split: for each of 0 to 9 its instances, ink in [0, 1] as (8, 8).

    Those that look like another digit are left out: all of the eight most similar instances have to show the same one.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    flat = (data.data / 16).astype(np.float32)  # (1797, 64)
    squares = (flat**2).sum(1)
    nearest = np.argpartition(squares - 2 * flat @ flat.T, ALIKE, axis=1)[:, : ALIKE + 1]  # (1797, 9), each with itself
    clear = (data.target[nearest] == data.target[:, None]).all(1)
    instances = members(np.flatnonzero(clear).tolist(), split, key=1797)
    return tuple(tuple(flat[i].reshape(8, 8) for i in instances if data.target[i] == digit) for digit in range(10))


@cache
def clothes(split: str) -> tuple[tuple[NDArray[np.uint8], ...], ...]:
    """The photographs of one split: for each of CLOTHES its instances, brightness as (28, 28)."""
    with Image.open(str(files("grip_vlm.benchmarks.spread") / "assets" / "photographs.png")) as sheet:
        pixels = np.asarray(sheet.convert("L"))
    rows = np.split(pixels, len(CLOTHES))
    return tuple(
        tuple(members(np.split(row, row.shape[1] // SIDE, axis=1), split, key=28 + at)) for at, row in enumerate(rows)
    )


def handwritten(rng: np.random.Generator, split: str, digit: int, size: int) -> NDArray[np.float32]:
    """One handwritten digit as ink in [0, 1], (size, size), slightly turned, scaled and shifted."""
    inks = digits(split)[digit]
    ink = inks[rng.integers(len(inks))]
    return jittered(rng, ink, size, 0.12, (0.97, 1.1), 0.25, Image.Resampling.BICUBIC)


def garment(rng: np.random.Generator, split: str, name: str, size: int) -> NDArray[np.uint8]:
    """One photograph of `name`, (size, size, 3): mirrored or not, on black or white, in a slight tint."""
    photographs = clothes(split)[CLOTHES.index(name)]
    grey = np.asarray(
        Image.fromarray(photographs[rng.integers(len(photographs))]).resize((size, size), Image.Resampling.BOX)
    )
    grey = grey[:, ::-1] if rng.random() < 0.5 else grey
    shown = grey.astype(np.float32)[..., None] * rng.uniform(0.88, 1.0, 3)
    return (255 - shown if rng.random() < 0.5 else shown).astype(np.uint8)


@cache
def _large() -> tuple[Image.Image, ...]:
    from sklearn.datasets import load_sample_images

    images = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return tuple(image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX) for image in images)


def background(rng: np.random.Generator, split: str, kind: str, size: int) -> NDArray[np.uint8]:
    """What is behind everything, (size, size, 3), of one of GROUNDS; its contrast is low, so that things stand out.

    Raises:
        ValueError: an unknown split or kind.
    """
    check_split(split)
    if kind not in GROUNDS:
        raise ValueError(f"unknown background {kind!r}; choose from {', '.join(GROUNDS)}")
    if kind == "page":
        return np.broadcast_to(rng.integers(236, 256, 3).astype(np.uint8), (size, size, 3)).copy()
    if kind in ("plain", "clutter"):
        image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(70, 190, 3)))
        if kind == "clutter":
            _scribble(image, rng)
        return np.array(image)
    gain, shift = rng.uniform(0.25, 0.5), rng.uniform(30, 110)
    image = _crop(rng, split, size) if kind == "photo" else _smooth(rng, size)
    return np.array(image.point(lambda value: value * gain + shift))


def _crop(rng: np.random.Generator, split: str, size: int) -> Image.Image:
    photo = _large()[rng.integers(2)]
    start, end = (round(share * photo.width) for share in STRIPS[split])
    side = int(rng.integers(50, min(end - start, photo.height) + 1))
    left, top = int(rng.integers(start, end - side + 1)), int(rng.integers(0, photo.height - side + 1))
    image = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def _smooth(rng: np.random.Generator, size: int) -> Image.Image:
    coarse = rng.integers(0, 256, (int(rng.integers(2, 24)),) * 2 + (3,), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def _scribble(image: Image.Image, rng: np.random.Generator) -> None:
    """Thin lines and spots, a little lighter or darker than what they are on: too faint to be things."""
    draw, base = ImageDraw.Draw(image), image.getpixel((0, 0))
    assert isinstance(base, tuple)
    for _ in range(int(rng.integers(20, 60))):
        x0, y0, x1, y1 = (int(v) for v in rng.integers(0, image.width, 4))
        fill = tuple(int(v + shift) for v, shift in zip(base, rng.integers(-22, 23, 3), strict=True))
        if rng.random() < 0.5:
            draw.line((x0, y0, x1, y1), fill=fill)
        else:
            draw.ellipse((x0, y0, x0 + x1 % 9, y0 + y1 % 9), fill=fill)
