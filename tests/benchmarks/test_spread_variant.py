"""The larger world is a variant of the six tasks, and `spread` is all six of them."""

import pytest

from grip_vlm import benchmarks
from grip_vlm.benchmarks import score, spread
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.benchmarks.items import named, open_items

SIX = [f"{name}:spread" for name in benchmarks.composed()]


def test_spread_names_the_six_tasks():
    assert named(["spread"]) == SIX
    assert named(["scenes", "spread"]) == benchmarks.composed() + SIX
    assert sorted(name.partition(":")[0] for name in SIX) == sorted(spread.TASKS)


@pytest.mark.parametrize("words", [["spread", "reading:spread"], ["reading:spread", "reading:spread"]])
def test_a_task_of_the_larger_world_counts_once(words):
    with pytest.raises(ValueError, match="'reading:spread' is named twice"):
        named(words)


def test_every_variant_is_described():
    assert {f"{name} (composed)" for name in SIX} <= set(benchmarks.descriptions())


@pytest.mark.parametrize("name", SIX)
def test_an_item_is_the_worlds_own_of_its_split(name):
    task = name.partition(":")[0]
    for split in ("dev", "train"):
        item = open_items(name, split).example(3)
        scene, question = spread.ask(task, split, 3)
        assert (item.item, item.question, item.answers) == (f"{name}/{split}/3", question.text, (question.answer,))
        assert item.image.tobytes() == scene.image.tobytes()
        assert item.evidence.grid == 24
        assert item.evidence.facts == (*question.units, *question.pointers)


def test_the_worlds_own_score_decides():
    item = benchmarks.example("perception:spread", "dev", 0)
    assert score(item, "Blue and red.", ["red, blue"]) == 1.0
    assert score(item, "blue", ["red, blue"]) == 0.0


def test_another_seed_is_another_item():
    first, second = (benchmarks.example("reading:spread", "dev", 0, seed) for seed in (0, 1))
    assert first.image.tobytes() != second.image.tobytes()


def test_training_reads_all_six_in_turns():
    examples = load_examples("spread", "train", 8)
    assert [example.item for example in examples] == [
        f"{name}/train/{i}" for i, name in [*((0, name) for name in SIX), (1, SIX[0]), (1, SIX[1])]
    ]


def test_training_reads_some_of_them_beside_other_scenes():
    examples = load_examples("reading,pointing:spread", "dev", 3)
    assert [example.item for example in examples] == ["reading/dev/0", "pointing:spread/dev/0", "reading/dev/1"]


def test_there_is_no_end_to_its_items_and_no_other_split():
    with pytest.raises(ValueError, match="no split 'all'"):
        open_items("reading:spread", "all")
    with pytest.raises(ValueError, match="unknown split 'nothing'"):
        benchmarks.example("reading:spread", "nothing", 0)


def test_its_scenes_are_not_those_of_the_composed_benchmarks():
    with pytest.raises(ValueError, match="is not composed of such scenes"):
        benchmarks.composed_item("reading:spread", "dev", 0)
