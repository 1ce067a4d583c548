"""A row of a user's data is train, dev or test by its image, whatever stands around it."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from toolkit.pictures import picture

from grip_vlm.benchmarks.data import load_examples
from grip_vlm.benchmarks.split import SHARES, parts_of, place_of

PARTS = tuple(SHARES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        picture(folder / f"{number}.png", PARTS[number % 3], number)
    return folder


def split(folder, numbers, name="rows.jsonl"):
    """question -> part of two rows about each picture."""
    path = folder / name
    rows = [{"image": f"{n}.png", "question": f"{n}{x}", "answers": ["a"]} for n in numbers for x in "ab"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {one.question: part for part in PARTS for one in load_examples(str(path), part, 1000)}


def test_every_row_is_in_one_part_and_rows_about_one_image_in_the_same(folder):
    parts = split(folder, range(60))
    assert len(parts) == 120
    assert all(parts[f"{n}a"] == parts[f"{n}b"] == PARTS[n % 3] for n in range(60))


def test_neither_order_nor_other_rows_move_a_row_to_another_part(folder):
    every = split(folder, range(60))
    some = random.Random(0).sample(range(60), 30)
    assert split(folder, some, "some.jsonl").items() < every.items()


def test_a_copy_of_an_image_is_in_the_part_of_the_image(folder):
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    assert place_of(folder / "copy.png") == place_of(folder / "2.png")


def test_eight_tenths_of_many_images_are_train_and_a_tenth_each_dev_and_test():
    sizes = Counter(parts_of([i / 1000 for i in range(1000)]).values())
    assert sizes == {"train": 800, "dev": 100, "test": 100}


@pytest.mark.parametrize("places", [(0.1, 0.2, 0.3), (0.81, 0.82, 0.83), (0.91, 0.92, 0.93), (0.1, 0.85, 0.2, 0.3)])
def test_a_part_that_stays_empty_takes_an_image_of_the_largest(places):
    assert set(parts_of(places).values()) == set(PARTS)


def test_an_image_is_moved_only_where_a_part_is_empty():
    assert parts_of([0.1, 0.7, 0.85]) == {0.1: "train", 0.7: "test", 0.85: "dev"}
    assert parts_of([0.1, 0.7, 0.85, 0.95]) == {0.1: "train", 0.7: "train", 0.85: "dev", 0.95: "test"}


@pytest.mark.parametrize("number", [1, 2])
def test_less_than_three_images_are_refused_for_some_part(tmp_path, number):
    for n in range(number):
        picture(tmp_path / f"{n}.png", first=n)
    with pytest.raises(ValueError, match=rf"has no rows for \w+: it has {2 * number} rows about {number} different"):
        split(tmp_path, range(number))


def test_an_unknown_part_is_refused(folder):
    split(folder, range(3), "three.jsonl")
    with pytest.raises(ValueError, match="split must be one of 'train', 'dev', 'test', not 'holdout'"):
        load_examples(str(folder / "three.jsonl"), "holdout", 3)


def test_an_image_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match=r"'.*nothing\.png' is not an image that can be read"):
        place_of(Path("nothing.png"))
