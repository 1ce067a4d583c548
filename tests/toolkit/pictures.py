"""Pictures that fall into a wanted part of a user's data."""

from itertools import count
from pathlib import Path

from PIL import Image

from grip_vlm.benchmarks.split import SHARES, place_of


def picture(path: Path, part: str = "train", first: int = 0) -> Path:
    """Save a picture of one colour, by its bytes in `part`. Another `first` gives another picture."""
    low, high = SHARES[part]
    for number in count(1000 * first):
        Image.new("RGB", (8, 6), (number // 256 % 256, number % 256, 99)).save(path)
        if low <= place_of(path) < high:
            return path
    raise AssertionError
