"""Images as the vision towers read them: upright, RGB, eight bits. Every way into the package opens images here.

- An EXIF orientation is applied.
- Transparent pixels are laid over white, the colour of paper: diagrams are often black lines on nothing.
- Sixteen bits are scaled to eight. Images of floats or of 32 bits are taken as 0..1, 0..255 or 0..65535, whichever is
  the smallest range that holds them.
- Palettes, grey, CMYK and other modes are converted by Pillow. Of an animation, the first frame is taken.
"""

import os
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

RANGES = (1.0, 255.0, 65535.0)  # of values of unknown depth


def as_rgb(image: Image.Image | str | Path) -> Image.Image:
    """An upright RGB image of a Pillow image or of a file. An image that is one already is returned itself.

    Raises:
        ValueError: it is neither, the file cannot be read, or the values are not those of an image.
    """
    if isinstance(image, (str, Path)):
        return open_image(image)
    if not isinstance(image, Image.Image):
        raise ValueError(f"an image is a Pillow image or the path of a file, not {type(image).__name__}")
    if not all(image.size):
        raise ValueError(f"an image of {image.size[0]} x {image.size[1]} pixels has nothing to see")
    try:
        image.load()  # Pillow reads files late
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise ValueError(f"the image cannot be read: {error}") from error
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    upright = image if is_upright else ImageOps.exif_transpose(image)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return _eight_bits(upright).convert("RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def open_image(path: str | Path, where: str = "", content: bytes | None = None) -> Image.Image:
    """An image file, fully read, as `as_rgb` makes it.

    Args:
        where: what the message begins with.
        content: the file's bytes, if they are already read. `path` is then used in error messages only.

    Raises:
        ValueError: the file is missing or is not an image.
    """
    prefix = f"{where}: " if where else ""
    if content is None and not os.path.isfile(path):  # a pipe would be waited for, without end
        if not os.path.exists(path):
            raise ValueError(f"{prefix}no image file {str(path)!r}")
        raise ValueError(f"{prefix}{str(path)!r} is not an image that can be read: it is not a file")
    try:
        with Image.open(path if content is None else BytesIO(content)) as image:
            return as_rgb(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        # Pillow's message for this one shows the object that holds the bytes.
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{prefix}{str(path)!r} is not an image that can be read: {reason}") from error


def scaled(image: Image.Image, longer: int) -> Image.Image:
    """The image at another size, with the same shape, to the pixel: its longer side has `longer` pixels."""
    ratio = longer / max(image.size)
    width, height = (max(1, round(ratio * side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of more than eight bits, or of floats, as one of eight."""
    values = np.asarray(image).astype(np.float64)  # (H, W)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > RANGES[-1]:
        raise ValueError(f"pixels of mode {image.mode} must be finite and in 0..1, 0..255 or 0..65535")
    deep = image.mode.startswith("I;16")
    whole = 0 if image.mode == "F" else 1  # integers from 0 to 1 are not a share of white
    top = RANGES[-1] if deep else next(top for top in RANGES[whole:] if values.max() <= top)
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8))
