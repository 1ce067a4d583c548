"""Train, dev or test: a user's row falls into one of them by its image, so that rows about one image stay together.

The part depends on the bytes of the image file. It stays the same when rows are added, removed or reordered, or the
data move to another folder, and a copy of an image under another name falls into the same part. Where a file has so few
images that a part stays empty, it takes one image of the largest part.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from grip_vlm import literals

Part = Literal["train", "dev", "test"]
SHARES: dict[Part, tuple[float, float]] = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}


class AboutAnImage(Protocol):
    """A row of a user's data."""

    @property
    def image(self) -> Path: ...


Row = TypeVar("Row", bound=AboutAnImage)


def rows_of(part: str, rows: Sequence[Row], source: Path) -> list[Row]:
    """The rows of one part in their order. Every image file is read.

    Args:
        source: the file that the rows come from, for the message.

    Raises:
        ValueError: there is no such part, no row falls into it, or an image cannot be read.
    """
    literals.check("split", part, Part)
    images = sorted({row.image for row in rows})
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        places = dict(zip(images, pool.map(place_of, images), strict=True))
    parts = parts_of(set(places.values()))
    chosen = [row for row in rows if parts[places[row.image]] == part]
    if not chosen:
        raise ValueError(
            f"{source} has no rows for {part}: it has {len(rows)} rows about {len(parts)} different images; all rows "
            "about one image are in one part, so train, dev and test need at least three images"
        )
    return chosen


def place_of(image: Path) -> float:
    """A number in [0, 1) that the bytes of an image file decide.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ValueError(f"{str(image)!r} is not an image that can be read: {error}") from error
    return int.from_bytes(digest[:6]) / 2**48


def parts_of(places: Collection[float]) -> dict[float, Part]:
    """place -> part of all images of a file."""
    members = {part: sorted(p for p in places if low <= p < high) for part, (low, high) in SHARES.items()}
    for part, own in members.items():
        largest = max(members, key=lambda name: len(members[name]))
        if not own and len(members[largest]) > 1:
            is_above = SHARES[part] > SHARES[largest]
            own.append(members[largest].pop(-1 if is_above else 0))  # the nearest
    return {place: part for part, own in members.items() for place in own}
