"""Pictures of the kept tokens: dropped patches are dimmed, kept patches are outlined."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from grip_vlm.files import new_file


def draw_kept(image: Image.Image, kept: Sequence[int], grid: tuple[int, int], size: int = 336) -> Image.Image:
    """The image at `size` x `size` pixels, with all patches dimmed but those of the kept tokens.

    Args:
        kept: indices of tokens in row-major order.
        grid: (rows, columns) of the visual tokens.
    """
    rows, columns = grid
    bright = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    canvas = Image.blend(bright, Image.new("RGB", bright.size, (16, 16, 24)), 0.78)
    draw = ImageDraw.Draw(canvas)
    for index in kept:
        row, column = divmod(index, columns)
        left, right = (round(value * size / columns) for value in (column, column + 1))
        top, bottom = (round(value * size / rows) for value in (row, row + 1))
        canvas.paste(bright.crop((left, top, right, bottom)), (left, top))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 196, 0), width=1)
    return canvas


def caption(image: Image.Image, lines: Sequence[tuple[str, str]], width: int | None = None) -> Image.Image:
    """The image with lines of (text, colour) below it."""
    font = ImageFont.load_default(15)
    width = width or image.width
    canvas = Image.new("RGB", (width, image.height + 20 * len(lines) + 6), "white")
    canvas.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for i, (text, colour) in enumerate(lines):
        draw.text((4, image.height + 4 + 20 * i), text, fill=colour, font=font)
    return canvas


def sheet(cells: Sequence[Sequence[Image.Image]], gap: int = 10) -> Image.Image:
    """A grid of images, one inner sequence per row."""
    widths = [max(row[i].width for row in cells if i < len(row)) for i in range(max(len(row) for row in cells))]
    heights = [max(image.height for image in row) for row in cells]
    canvas = Image.new("RGB", (sum(widths) + gap * (len(widths) + 1), sum(heights) + gap * (len(heights) + 1)), "white")
    y = gap
    for row, height in zip(cells, heights, strict=True):
        x = gap
        for image, width in zip(row, widths, strict=False):
            canvas.paste(image, (x, y))
            x += width + gap
        y += height + gap
    return canvas


def save(image: Image.Image, path: Path) -> None:
    """Write as PNG. Raises an OSError if it cannot be written."""
    with new_file(path) as beside:
        image.save(beside, format="PNG")
