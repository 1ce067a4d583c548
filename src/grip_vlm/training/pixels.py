"""`--max-pixels`: a limit on the size of images, for processors that scale an image to a number of pixels."""

from typing import Any

from grip_vlm.vlms import FrozenVLM


def limit_pixels(vlm: FrozenVLM, pixels: int) -> None:
    """Let the VLM's processor scale larger images down to `pixels`; 0 leaves its own limit.

    Raises:
        ValueError: the processor has no such limit, or its smallest image is larger.
    """
    if not pixels:
        return
    images: Any = vlm.processor.image_processor
    known = getattr(images, "valid_kwargs", None)
    if known is None or "max_pixels" not in known.__annotations__:
        raise ValueError(
            f"the image processor of {vlm.name!r} ({type(images).__name__}) has no limit on pixels; "
            "leave --max-pixels out and scale the images yourself"
        )
    size = images.size if isinstance(images.size, dict) else dict(images.size)
    smallest = size.get("shortest_edge") or 0  # a number of pixels, in spite of its name
    if pixels < smallest:
        raise ValueError(f"{vlm.name!r} scales images to at least {smallest} pixels; --max-pixels {pixels} is less")
    images.size = {**size, "longest_edge": pixels}


def tokens_allowed(vlm: FrozenVLM, pixels: int) -> int:
    """Visual tokens that an image of so many pixels has, for processors that know `max_pixels`."""
    images: Any = vlm.processor.image_processor
    return int(pixels / (images.patch_size * images.merge_size) ** 2)


def too_many(vlm: FrozenVLM, pixels: int, tokens: list[int]) -> str:
    """A warning if images have more tokens than `pixels` allow, "" if none has."""
    if not pixels:
        return ""
    allowed = tokens_allowed(vlm, pixels)
    over = [count for count in tokens if count > allowed]
    if not over:
        return ""
    excess = f"more tokens than --max-pixels {pixels} allows ({allowed})"
    return f"warning: {len(over)} of {len(tokens)} images have {excess}: up to {max(over)}"
