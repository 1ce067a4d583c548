"""Printed characters: real fonts, split by font, one character to a cell of 8 x 16 pixels."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grip_vlm.benchmarks.spread.splits import SPLITS, check_split

CELL = (8, 16)  # width and height in pixels: one patch wide, two high
BASELINE = 12.3  # pixels below the top of the cell
SIZES = (13, 14)  # pixels
FONTS = {
    "train": (
        "DejaVuSans",
        "DejaVuSans-Bold",
        "DejaVuSerif",
        "DejaVuSerif-Bold",
        "DejaVuSansMono",
        "STIXGeneral",
        "STIXGeneralBol",
        "STIXGeneralItalic",
        "cmr10",
        "cmss10",
        "cmti10",
    ),
    "dev": ("DejaVuSans-Oblique", "cmb10"),
    "test": ("DejaVuSansMono-Bold", "DejaVuSerif-Italic", "STIXGeneralBolIta", "cmtt10"),
}
assert tuple(FONTS) == SPLITS


def fonts(split: str) -> tuple[str, ...]:
    """The fonts of one split; no font is in two.

    Raises:
        ValueError: an unknown split.
    """
    return FONTS[SPLITS[check_split(split)]]


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


@cache
def glyph(name: str, size: int, character: str) -> NDArray[np.float32]:
    """One character as ink in [0, 1], (16, 8); a character wider than its cell is narrowed to fit."""
    font, fine = _font(name, 4 * size), 4
    left, _, right, _ = font.getbbox(character, anchor="ls")
    large = Image.new("L", (max(1, round(right - left)), CELL[1] * fine))
    ImageDraw.Draw(large).text((-left, BASELINE * fine), character, fill=255, font=font, anchor="ls")
    width = min(CELL[0] - 1, max(2, round(large.width / fine)))
    ink = np.zeros(CELL[::-1], dtype=np.float32)  # (16, 8)
    start = (CELL[0] - width) // 2
    ink[:, start : start + width] = np.asarray(large.resize((width, CELL[1]), Image.Resampling.BOX)) / 255
    return ink


def written(name: str, size: int, text: str) -> NDArray[np.float32]:
    """A text as ink in [0, 1], (16, 8 * characters)."""
    return np.concatenate([glyph(name, size, character) for character in text], axis=1)
