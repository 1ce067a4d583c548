"""How each thing is drawn into the pixels; whatever it draws stays on the thing's own patches."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from grip_vlm.benchmarks.spread import fonts, pixels, shapes
from grip_vlm.benchmarks.spread.colours import DARK, LIGHT, RGB, Triple, edge, jittered
from grip_vlm.benchmarks.spread.thing import GRID, PATCH, SIZE, Line, Patches, Thing, block

Canvas = NDArray[np.uint8]  # (192, 192, 3)
TURN = 12  # degrees; a shape stands upright or is turned by this much to either side
LEAST = 3  # pixels; where an arrow or shape covers fewer of a patch, it is not drawn there


def draw(canvas: Canvas, thing: Thing, split: str) -> None:
    """Draw one thing; the same thing always looks the same."""
    rng = np.random.default_rng(thing.seed)
    {"shape": _shape, "photograph": _photograph, "digit": _digit, "text": _text, "bar": _bar, "arrow": _arrow}[
        thing.part
    ](canvas, thing, split, rng)


def _area(canvas: Canvas, thing: Thing) -> Canvas:
    top, left = thing.row * PATCH, thing.column * PATCH
    return canvas[top : top + thing.height * PATCH, left : left + thing.width * PATCH]


def _blend(area: Canvas, cover: NDArray[np.float32], colour: Triple | NDArray[np.float32]) -> None:
    area[:] = np.rint(area + cover[..., None] * (np.asarray(colour, dtype=np.float32) - area))


def _shape(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    area, (whole, inner) = _area(canvas, thing), _shape_masks(thing, rng)
    fill = jittered(str(thing.colour), rng)
    allowed = np.isin(block(thing.row, thing.column, thing.height, thing.width), thing.patches)
    pixel = allowed.reshape(thing.height, thing.width).repeat(PATCH, 0).repeat(PATCH, 1)  # as area
    _blend(area, whole * pixel, edge(fill))
    _blend(area, inner * pixel, _surface(rng, fill, len(area)))


def _surface(rng: np.random.Generator, fill: Triple, box: int) -> NDArray[np.float32]:
    """What a shape is filled with, (box, box, 3): one colour, or one that grows darker to a side, or faint stripes."""
    style, along = rng.random(), np.arange(box, dtype=np.float32)
    if style < 0.5:
        tone = np.zeros((box, box), dtype=np.float32)
    elif style < 0.75:
        slope = rng.uniform(-1, 1, 2)
        tone = 24 * (slope[0] * (along[:, None] / box - 0.5) + slope[1] * (along / box - 0.5))
    else:
        across = along[:, None] if rng.random() < 0.5 else along[:, None] + along
        tone = np.broadcast_to(np.where(across % 4 < 2, np.float32(9), np.float32(-9)), (box, box))
    shown: NDArray[np.float32] = np.clip(np.array(fill, dtype=np.float32) + tone[..., None], 0, 255)
    return shown


def _shape_masks(thing: Thing, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    box = thing.width * PATCH
    size = int(rng.integers(box - 3, box))
    room = (box - size) // 2
    shift = float(rng.integers(-room, room + 1)), float(rng.integers(-room, room + 1))
    turn = int(rng.integers(-1, 2)) * TURN
    return shapes.mask(thing.name, box, size, shift, turn)


def shape_patches(thing: Thing) -> Patches:
    """Those patches of a shape's box that it reaches; where it covers fewer than LEAST pixels, it is not drawn."""
    whole, _ = _shape_masks(thing, np.random.default_rng(thing.seed))
    cover = (whole > 0.5).reshape(thing.height, PATCH, thing.width, PATCH).sum((1, 3)).reshape(-1)
    boxed = block(thing.row, thing.column, thing.height, thing.width)
    return tuple(patch for patch, pixels in zip(boxed, cover.tolist(), strict=True) if pixels >= LEAST)


def _photograph(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    _area(canvas, thing)[:] = pixels.garment(rng, split, thing.name, thing.width * PATCH)


def _papers(rng: np.random.Generator) -> tuple[Triple, Triple]:
    """Ink and paper: dark on light or the other way round."""
    return (DARK, LIGHT) if rng.random() < 0.65 else (LIGHT, DARK)


def _digit(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    ink, paper = _papers(rng)
    area = _area(canvas, thing)
    area[:] = paper
    _blend(area, pixels.handwritten(rng, split, int(thing.name), 2 * PATCH), ink)


def _text(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    names = fonts.fonts(split)
    font, size = names[rng.integers(len(names))], fonts.SIZES[rng.integers(len(fonts.SIZES))]
    text = thing.name.upper() if rng.random() < 0.4 else thing.name
    if thing.hand:
        cover = np.concatenate([pixels.handwritten(rng, split, int(d), 2 * PATCH) for d in text], axis=1)
    else:
        cover = fonts.written(font, size, text)  # (16, width)
    ink, paper = _papers(rng)
    area = _area(canvas, thing)
    if thing.framed:
        outer = int(rng.integers(0, 3))  # pixels of ground left around the frame
        thick = int(rng.integers(4, 6))
        area[outer : len(area) - outer, outer : area.shape[1] - outer] = jittered(str(thing.colour), rng)
        inner = outer + thick
        area[inner : len(area) - inner, inner : area.shape[1] - inner] = paper
        area = area[PATCH:-PATCH, PATCH:-PATCH]
    elif thing.plate:
        area[:] = paper
    else:  # straight on a page
        ink = DARK if thing.colour is None else RGB[thing.colour]
    _blend(area, cover, ink)


def _bar(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    area, fill = _area(canvas, thing), jittered(str(thing.colour), rng)
    start, side = int(rng.integers(0, 3)), int(rng.integers(0, 3))
    area[start:, side : area.shape[1] - side] = edge(fill)
    area[start + 1 : -1, side + 1 : area.shape[1] - side - 1] = fill


def _arrow(canvas: Canvas, thing: Thing, split: str, rng: np.random.Generator) -> None:
    fill, dark = jittered(str(thing.colour), rng), _arrow_masks(thing.line)
    allowed = np.zeros((GRID, GRID), dtype=bool)
    allowed.reshape(-1)[list(thing.patches)] = True
    pixel = allowed.repeat(PATCH, 0).repeat(PATCH, 1)  # (192, 192)
    canvas[(dark[0] | dark[1]) & pixel] = edge(fill)
    canvas[dark[2] & pixel] = fill


def _arrow_masks(line: Line) -> tuple[NDArray[np.bool_], ...]:
    """Pixels of shaft, head, and of both without their edge, each (192, 192)."""
    x0, y0, x1, y1 = line
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    neck = x1 - 9 * ux, y1 - 9 * uy
    head = [(x1, y1), (neck[0] - 5 * uy, neck[1] + 5 * ux), (neck[0] + 5 * uy, neck[1] - 5 * ux)]
    inner = [
        (x1 - 2.5 * ux, y1 - 2.5 * uy),
        (neck[0] + ux - 3.2 * uy, neck[1] + uy + 3.2 * ux),
        (neck[0] + ux + 3.2 * uy, neck[1] + uy - 3.2 * ux),
    ]
    out = [Image.new("1", (SIZE, SIZE)) for _ in range(3)]
    ImageDraw.Draw(out[0]).line((x0, y0, *neck), fill=1, width=5)
    ImageDraw.Draw(out[1]).polygon(head, fill=1)
    ImageDraw.Draw(out[2]).line((x0 + ux, y0 + uy, *neck), fill=1, width=3)
    ImageDraw.Draw(out[2]).polygon(inner, fill=1)
    return tuple(np.asarray(image) for image in out)


def arrow_patches(line: Line) -> tuple[Patches, Patches]:
    """The patches of an arrow's shaft and of its head; a patch that has both belongs to the head."""
    shaft, head, _ = _arrow_masks(line)
    counts = [m.reshape(GRID, PATCH, GRID, PATCH).sum((1, 3)).reshape(-1) for m in (shaft, head)]  # (576,)
    tip = counts[1] >= 2 * LEAST
    body = (counts[0] + counts[1] >= LEAST) & ~tip
    return tuple(int(i) for i in np.flatnonzero(body)), tuple(int(i) for i in np.flatnonzero(tip))
