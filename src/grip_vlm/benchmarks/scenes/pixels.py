"""Real pixels for scenes: scikit-learn's handwritten digits and its two photographs."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SPLITS = ("train", "dev", "test")
DIGIT_SHARES = (0.70, 0.12, 0.18)  # of the 1,797 handwritten digits, in the order of SPLITS


@cache
def digits(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The handwritten digits of `split`. Splits are disjoint.

    Returns:
        Ink in [0, 1], (n, 8, 8), and the digits, (n,).

    Raises:
        ValueError: `split` is not one of train, dev, test.
    """
    from sklearn.datasets import load_digits

    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    data = load_digits()
    order = np.random.default_rng(1797).permutation(len(data.target))
    ends = np.round(np.cumsum((0.0, *DIGIT_SHARES)) * len(order)).astype(int)
    part = SPLITS.index(split)
    chosen = order[ends[part] : ends[part + 1]]
    return (data.images[chosen] / 16).astype(np.float32), data.target[chosen].astype(np.int64)


@cache
def photographs() -> tuple[Image.Image, ...]:
    """scikit-learn's two sample photographs at a third of their size. A crop then shows more than one texture."""
    from sklearn.datasets import load_sample_images

    images = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return tuple(image.resize((image.width // 3, image.height // 3), Image.Resampling.BOX) for image in images)


def background(rng: np.random.Generator, size: int) -> Image.Image:
    """A (size, size) background: a random crop of a photograph (with probability 2/3) or smooth noise."""
    if rng.random() < 2 / 3:
        photo = photographs()[rng.integers(2)]
        side = int(rng.integers(size // 2, min(photo.size)))
        left, top = (int(rng.integers(0, limit - side + 1)) for limit in photo.size)
        image = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    else:
        coarse = rng.integers(0, 256, (int(rng.integers(2, 20)),) * 2 + (3,), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    # Contrast is at least halved, because items must stand out from the background.
    gain, shift = rng.uniform(0.25, 0.5), rng.uniform(20, 110)
    return image.point(lambda value: value * gain + shift)


def handwritten(rng: np.random.Generator, split: str, digit: int, size: int) -> NDArray[np.float32]:
    """A random handwritten `digit` of `split`, slightly rotated, scaled and shifted: ink (size, size) in [0, 1]."""
    inks, shown = digits(split)
    ink = inks[rng.choice(np.flatnonzero(shown == digit))]
    return jittered(rng, ink, size, 0.14, (0.95, 1.12), 0.3, Image.Resampling.BILINEAR)


def jittered(
    rng: np.random.Generator,
    ink: NDArray[np.float32],
    size: int,
    turn: float,
    zoom: tuple[float, float],
    shift: float,
    resampling: Image.Resampling,
) -> NDArray[np.float32]:
    """Ink (8, 8) in [0, 1], enlarged and randomly turned, scaled and shifted: (size, size).

    Args:
        turn: the largest angle, in radians.
        zoom: the smallest and the largest factor; above 1 it shrinks the digit.
        shift: the largest shift, in pixels of the ink.
    """
    image = Image.fromarray((ink * 255).astype(np.uint8))
    angle, factor = rng.uniform(-turn, turn), 8 / size * rng.uniform(*zoom)
    cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
    dx, dy = rng.uniform(-shift, shift, 2)
    half = size / 2
    matrix = (cos, sin, 4 + dx - half * (cos + sin), -sin, cos, 4 + dy - half * (cos - sin))
    image = image.transform((size, size), Image.Transform.AFFINE, matrix, resampling)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
