"""A pool of training scenes in memory: pixels, dense patch labels, and questions about them."""

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

import lessons
from grip_vlm import benchmarks
from grip_vlm.benchmarks.scenes import Item, Scene, compose
from grip_vlm.benchmarks.scenes.compose import GRID, PATCH, SIZE
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, LETTERS, SHAPES, Point

COLOUR = {name: 1 + i for i, name in enumerate(COLOURS)}
SHAPE = {name: 1 + i for i, name in enumerate(SHAPES)}
LETTER = {name: 1 + i for i, name in enumerate(LETTERS)}
FRAME, SHAFT, TIP = 23, 24, 25
# Diagrams and objects are the most frequent, because they take longest to learn.
LAYOUTS = ("objects", "diagram", "signs", "number", "diagram", "objects", "diagram", "signs", "number", "objects")
# Dense labels of a patch, about itself and the thing it belongs to: name -> number of classes (class 0 is nothing).
DENSE = {
    "kind": 26,
    "colour": 7,
    "digit1": 11,
    "digit2": 11,
    "digit3": 11,
    "digit4": 11,
    "partner_shape": 7,
    "partner_colour": 7,
    "partner_letter": 7,
    "row": GRID + 1,
    "column": GRID + 1,
    "same_colour": 7,
    "same_shape": 7,
}


@dataclass
class Pool:
    images: NDArray[np.uint8]  # (n, 112, 112, 3)
    dense: NDArray[np.uint8]  # (n, 196, len(DENSE))
    scenes: list[Scene]  # without pixels


def _row(**classes: int) -> list[int]:
    """Classes in the order of DENSE. A class that is not named is 0."""
    return [classes.get(name, 0) for name in DENSE]


def _partner_labels(scene: Scene, item: Item) -> dict[str, int]:
    other = scene.partner(item)
    if other is not None and other.kind == "shape":
        return {"partner_shape": SHAPE[other.name], "partner_colour": COLOUR[str(other.colour)]}
    if other is not None and other.kind == "label":
        return {"partner_letter": LETTER[other.name]}
    return {}


def _label_arrow(labels: NDArray[np.uint8], source: Item, target: Item, start: Point, tip: Point) -> None:
    """Label the patches of an arrow with its source and its target, which only the arrow's colour links."""
    said = {"partner_shape": SHAPE[source.name], "partner_letter": LETTER[target.name]}
    for share in np.linspace(0, 1, 60):
        x, y = start[0] + share * (tip[0] - start[0]), start[1] + share * (tip[1] - start[1])
        kind = TIP if math.dist((x, y), tip) < 8 else SHAFT
        labels[int(y) // PATCH, int(x) // PATCH] = _row(kind=kind, colour=COLOUR[str(source.colour)], **said)


def dense_labels(scene: Scene) -> NDArray[np.uint8]:
    """One row of DENSE classes per patch, (196, len(DENSE)). Frames are labelled on the ring around their number.

    Counts and places are labels too. If a patch knows how many things share its colour, counting becomes a lookup.
    """
    labels = np.zeros((GRID, GRID, len(DENSE)), dtype=np.uint8)
    shapes = scene.of("shape")
    for source in shapes:
        arrow, target = scene.arrow(source), scene.partner(source)
        if arrow is not None and target is not None:
            _label_arrow(labels, source, target, *arrow)
    for item in scene.items:
        rows, columns = slice(item.row, item.row + 2), slice(item.column, item.column + item.width)
        said = {"row": item.row + 1, "column": item.column + item.width // 2, **_partner_labels(scene, item)}
        if item.colour is not None:
            said["colour"] = COLOUR[item.colour]
        if item.kind == "number":
            said |= {f"digit{i}": 1 + int(digit) for i, digit in enumerate(item.name, start=1)}
            if item.colour is not None:
                ring = labels[item.row - 1 : item.row + 3, item.column - 1 : item.column + item.width + 1]
                ring[ring[..., 0] == 0] = _row(kind=FRAME, **said)
            labels[rows, columns] = _row(**said)
            labels[rows, columns, 0] = 7 + np.repeat([int(digit) for digit in item.name], 2)
        else:
            kind = SHAPE[item.name] if item.kind == "shape" else 16 + LETTER[item.name]
            said["same_colour"] = sum(other.colour == item.colour for other in shapes)
            said["same_shape"] = sum(other.name == item.name for other in shapes)
            labels[rows, columns] = _row(kind=kind, **said)
    return labels.reshape(GRID * GRID, -1)


def _some(split: str, start: int, count: int) -> Pool:
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    dense = np.empty((count, GRID * GRID, len(DENSE)), dtype=np.uint8)
    scenes = []
    for i in range(count):
        scene = compose(split, start + i, LAYOUTS[(start + i) % len(LAYOUTS)])
        images[i], dense[i] = np.asarray(scene.image), dense_labels(scene)
        scenes.append(Scene(None, scene.items, scene.layout))  # type: ignore[arg-type]
    return Pool(images, dense, scenes)


def make_pool(split: str, count: int, workers: int = 2, chunk: int = 1000) -> Pool:
    """Scenes 0 .. count-1 of a split, composed by `workers` processes."""
    starts = range(0, count, chunk)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_some, split, start, min(chunk, count - start)) for start in starts]
        parts = [job.result() for job in jobs]
    return Pool(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.dense for part in parts]),
        [scene for part in parts for scene in part.scenes],
    )


def questions(scene: Scene, rng: np.random.Generator, tries: int = 24) -> list[benchmarks.Question]:
    """Distinct questions about one scene, in random order. Every second try asks a lesson, the others a benchmark."""
    names = [name for name in benchmarks.composed() if scene.layout in benchmarks.load(name).LAYOUTS]
    asked: dict[str, benchmarks.Question] = {}
    for attempt in range(tries):
        ask = lessons.ask if attempt % 2 else benchmarks.load(names[rng.integers(len(names))]).ask
        question = ask(scene, rng)
        if question is not None:
            asked.setdefault(question.text, question)
    return list(asked.values())
