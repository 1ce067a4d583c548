"""A lesson of the larger world states one fact that is true of its scene."""

import re

import numpy as np
import pytest

from grip_vlm.benchmarks.spread import GRID, LAYOUTS, compose, lessons
from grip_vlm.benchmarks.spread.colours import COLOURS

pytestmark = pytest.mark.slow

COLOUR = "|".join(COLOURS)


def given(layout, count=40):
    for index in range(count):
        scene = compose("train", index, layout=layout)
        for lesson in lessons(scene, np.random.default_rng(index)):
            yield scene, lesson


def of_kind(layout, kind):
    found = [(scene, lesson) for scene, lesson in given(layout) if lesson.kind == kind]
    assert len(found) > 15
    return found


def text_meant(scene, words):
    """The text that a lesson speaks of."""
    colour = re.search(f"\\b({COLOUR})\\b", words)
    if "bar" in words:
        (bar,) = (bar for bar in scene.of("bar") if bar.colour == colour[1])
        (found,) = (text for text in scene.of("text") if text.column == bar.column)
    elif colour:
        (found,) = (text for text in scene.of("text") if text.colour == colour[1])
    else:
        rows = sorted({text.row for text in scene.of("text")})
        row = rows[int(re.search(r"line (\d)", words)[1]) - 1]
        line = sorted((text for text in scene.of("text") if text.row == row), key=lambda text: text.column)
        found = line["second text" in words]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lessons_about_a_scene_differ_and_name_their_evidence(layout):
    for scene, lesson in given(layout, 10):
        part = scene.labels.reshape(GRID * GRID, -1)[:, 0]
        assert lesson.answer
        assert (part[list(lesson.evidence)] > 0).all()
        assert lesson.task in ("lesson", "perception", "presence")
    found = lessons(scene, np.random.default_rng(0))
    assert len({lesson.text for lesson in found}) == len(found)


@pytest.mark.parametrize("layout", ["signs", "page", "diagram", "chart"])
def test_a_text_is_spelled_as_it_is_written(layout):
    for scene, lesson in of_kind(layout, "spell"):
        assert lesson.answer.split(" ") == list(text_meant(scene, lesson.text).name)


@pytest.mark.parametrize("layout", ["signs", "page", "diagram", "chart"])
def test_a_character_is_the_one_at_its_place(layout):
    for scene, lesson in of_kind(layout, "character"):
        nth, what = re.match(r"What is the (\w+) (letter|digit)", lesson.text).groups()
        name = text_meant(scene, lesson.text.partition(" of ")[2]).name
        at = -1 if nth == "last" else ("first", "second", "third", "fourth", "fifth", "sixth").index(nth)
        assert lesson.answer == name[at]
        assert name.isdigit() == (what == "digit")


def test_an_arrow_points_the_way_that_its_tip_is_from_its_start():
    for scene, lesson in of_kind("diagram", "way"):
        (arrow,) = (a for a in scene.of("arrow") if f"{a.colour} arrow" in lesson.text)
        x0, y0, x1, y1 = arrow.line
        wide, high = abs(x1 - x0), abs(y1 - y0)
        said = set(lesson.answer.split())
        assert ("right" in said, "left" in said) == (wide > 0.4142 * high and x1 > x0, wide > 0.4142 * high and x1 < x0)
        assert ("down" in said, "up" in said) == (high > 0.4142 * wide and y1 > y0, high > 0.4142 * wide and y1 < y0)


def test_the_taller_of_two_bars_and_the_tallest_of_all_are_named():
    for scene, lesson in of_kind("chart", "height"):
        height = {bar.colour: bar.height for bar in scene.of("bar")}
        named = re.findall(f"\\b({COLOUR})\\b", lesson.text) or list(height)
        best = min if "lowest" in lesson.text else max
        assert lesson.answer == best(named, key=height.__getitem__)


def test_what_is_at_a_place_is_the_only_thing_that_reaches_into_it():
    for scene, lesson in of_kind("objects", "place"):
        row, column = re.search(r"at the (\w+) (\w+)\?", lesson.text).groups()
        top, left = 8 * ("top", "middle", "bottom").index(row), 8 * ("left", "centre", "right").index(column)
        region = {r * GRID + c for r in range(top, top + 8) for c in range(left, left + 8)}
        assert set(lesson.evidence) & region
        (found,) = {
            thing.name
            for thing in scene.of("shape", "photograph", "digit")
            if thing.row < top + 8
            and thing.row + thing.height > top
            and thing.column < left + 8
            and thing.column + thing.width > left
        }
        assert lesson.answer.split()[-1] == found
