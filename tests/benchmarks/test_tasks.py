"""Every benchmark scores right and wrong answers; a composed one gives the same items again, true of their scenes."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example, score
from grip_vlm.benchmarks.exact import exact_match, normalise
from grip_vlm.benchmarks.scenes import Item, Scene, compose

NAMES = benchmarks.composed()
PUBLISHED = [
    line.removesuffix(" (published)") for line in benchmarks.descriptions() if not line.endswith(" (composed)")
]


@cache
def items(name, count=30):
    """Of a published benchmark, the sample."""
    benchmark = benchmarks.load(name)
    if name in PUBLISHED:
        questions = [(row["image"], benchmark.ask(row)) for row in benchmark.example_rows()]
        return [
            Example(name, image, question.text, question.answers, name, question.group) for image, question in questions
        ]
    return [benchmarks.example(name, "dev", index) for index in range(count)]


@cache
def composed_items(name, count=100, crowded=False):
    """Questions about scenes of all the layouts that a benchmark draws from."""
    benchmark, out = benchmarks.load(name), []
    for index in range(10 * count):
        scene = compose("dev", index, benchmark.LAYOUTS[index % len(benchmark.LAYOUTS)], crowded=crowded)
        question = benchmark.ask(scene, np.random.default_rng(index))
        if question is not None:
            out.append((scene, question))
        if len(out) == count:
            return out
    raise AssertionError(f"{name} asks about fewer than one scene in ten")


def test_the_benchmarks_are_found_in_their_folder():
    assert NAMES == ["choice", "diagram", "perception", "pointing", "presence", "reading"]
    stems = {name.partition(":")[0] for name in PUBLISHED}
    assert sorted(stems) == ["ai2d", "gqa", "mme", "ocrbench", "pope", "scienceqa", "textvqa"]
    assert sorted([*NAMES, *stems]) == benchmarks.names()


# ---- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_thirty_items_are_the_same_again(name):
    for index, item in enumerate(items(name)):
        again = benchmarks.example(name, "dev", index)
        assert (again.item, again.question, again.answers) == (item.item, item.question, item.answers)
        assert again.image.tobytes() == item.image.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_thirty_items_have_different_images_and_names(name):
    assert len({item.image.tobytes() for item in items(name)}) == 30
    assert [item.item for item in items(name)] == [f"{name}/dev/{index}" for index in range(30)]


@pytest.mark.parametrize("name", NAMES)
def test_an_item_of_another_split_or_seed_has_another_image(name):
    found = [benchmarks.example(name, split, 0, seed) for split, seed in (("dev", 0), ("test", 0), ("dev", 1))]
    assert len({item.image.tobytes() for item in found}) == 3


@pytest.mark.parametrize("name", NAMES + PUBLISHED)
def test_the_gold_answer_scores_one(name):
    assert {score(item, item.answers[0], item.answers) for item in items(name)} == {1.0}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spoil", [lambda gold: f"{gold}{gold}", lambda gold: "", lambda gold: f"not {gold}"])
def test_a_wrong_answer_scores_zero(name, spoil):
    assert {score(item, spoil(item.answers[0]), item.answers) for item in items(name)} == {0.0}


@pytest.mark.parametrize("name", NAMES + PUBLISHED)
def test_the_answer_of_another_item_scores_zero(name):
    first, *others = items(name)
    other = next(item for item in others if item.answers[0] != first.answers[0])
    assert score(first, other.answers[0], first.answers) == 0.0
    assert score(other, first.answers[0], other.answers) == 0.0


def test_a_score_knows_the_group_of_its_item():
    """Spaces do not count in OCRBench's formulas, and count in its other kinds."""
    text, formula = items("ocrbench")
    assert score(formula, "\\frac{X}{2}", formula.answers) == 1.0
    assert score(text, "\\frac{X}{2}", formula.answers) == 0.0


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_sample_is_two_rows_of_the_tables_columns_with_an_image(name):
    benchmark = benchmarks.load(name)
    rows = benchmark.example_rows()
    assert len(rows) == 2
    for row in rows:
        assert set(row) == {*benchmark.columns, "image"}
        assert row["image"].mode == "RGB"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_prompt_holds_the_question_of_its_row(name):
    benchmark = benchmarks.load(name)
    for row in benchmark.example_rows():
        question = row["question"].removesuffix(" Please answer yes or no.")
        assert question.lower() in benchmark.ask(row).text.lower()


@pytest.mark.parametrize("text", ["Yes.", "yes", " YES ", "yes .", "Yes...\n"])
def test_case_space_and_a_full_stop_do_not_count(text):
    assert normalise(text) == "yes"
    assert exact_match(text, ["yes"]) == 1.0


@pytest.mark.parametrize("text", ["no", "y es", "yes!", ""])
def test_other_differences_count(text):
    assert exact_match(text, ["yes"]) == 0.0


def test_any_accepted_answer_is_right():
    assert exact_match("cat", ["kitten", "Cat"]) == 1.0


def test_an_unknown_benchmark_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown benchmark 'vqa'; choose from ai2d, .* `scenes` for choice, diagram"):
        benchmarks.load("vqa")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pope:loose", "'pope' has no variant 'loose', only words"),
        ("gqa:hard", "'gqa' has no variant 'hard', it has none"),
        ("choice:hard", "'choice' has no variant 'hard', only crowded"),
        ("pope:", "unknown benchmark 'pope:'"),
    ],
)
def test_an_unknown_variant_is_refused_with_the_known_ones(name, message):
    with pytest.raises(ValueError, match=message):
        benchmarks.load(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_crowded_benchmark_has_items_of_its_own(name):
    item, usual = benchmarks.example(f"{name}:crowded", "dev", 0), items(name)[0]
    assert (item.item, item.benchmark) == (f"{name}:crowded/dev/0", f"{name}:crowded")
    assert item.image.tobytes() != usual.image.tobytes()
    assert score(item, item.answers[0], item.answers) == 1.0


def test_a_published_benchmark_composes_no_example():
    with pytest.raises(ValueError, match="'pope' is not composed of such scenes; choose from choice, diagram"):
        benchmarks.example("pope", "test", 0)


def test_a_helper_file_is_no_benchmark():
    with pytest.raises(ValueError, match="unknown benchmark '_exact'"):
        benchmarks.example("_exact", "dev", 0)


# ---- truth, from the items of the scene alone ------------------------------------------------------------------------


def only(found):
    """The one thing a question means; a question that means none or two is at fault itself."""
    (item,) = found
    return item


def beside(scene, item, kind, rows=0):
    """What stands one patch to the left or right of it, at most `rows` rows higher or lower."""

    def gap(other):
        return max(item.column - other.column - other.width, other.column - item.column - item.width)

    return [other for other in scene.of(kind) if abs(other.row - item.row) <= rows and gap(other) <= 1]


def truth(scene, text):
    """The answer to a question in any of the benchmarks' wordings."""
    shapes, numbers = scene.of("shape"), scene.of("number")

    def means(pattern):
        found = re.fullmatch(pattern, text)
        return found.groups() if found else None

    def shape(name):
        return only(item for item in shapes if item.name == name)

    def yes(is_so):
        return "yes" if is_so else "no"

    if found := means(r"Is there a (\w+) (\w+)\?"):
        return yes(found in {(item.colour, item.name) for item in shapes})
    if found := means(r"(?:Is|Are) there exactly (\w+) (\w+) shapes?\?"):
        count = sum(item.colour == found[1] for item in shapes)
        return yes(count == ("zero", "one", "two", "three", "four").index(found[0]))
    if found := means(r"(?:Is|Are) there exactly (\w+) (circle|square|triangle|cross|star|heart)(?:e?s)?\?"):
        count = sum(item.name == found[1] for item in shapes)
        return yes(count == ("zero", "one", "two", "three", "four").index(found[0]))
    if found := means(r"Is the (\w+) (\w+) in the (\w+) half\?"):
        x, y = only(item for item in shapes if (item.colour, item.name) == found[:2]).centre
        return yes({"left": x < 56, "right": x > 56, "top": y < 56, "bottom": y > 56}[found[2]])
    if found := means(r"Is the (\w+) (\w+)\?"):
        return yes(shape(found[0]).colour == found[1])
    if found := means(r"Which label does the (\w+) point to\?"):
        return only(label for label in scene.of("label") if scene.partner(label) is shape(found[0])).name
    if found := means(r"Which shape points to label (\w)\?"):
        return only(item for item in shapes if item.partner is not None and scene.partner(item).name == found[0]).name
    if found := means(r"What number is next to the (\w+)\?"):
        return only(beside(scene, shape(found[0]), "number")).name
    if found := means(r"What number is in the (\w+) frame\?"):
        return only(item for item in numbers if item.colour == found[0]).name
    if text == "What number is written?":
        return only(numbers).name
    if found := means(r"What colour is the shape pointing to label (\w)\?"):
        label = only(item for item in scene.of("label") if item.name == found[0])
        return str(only(item for item in shapes if scene.partner(item) is label).colour)
    if found := means(r"What colour is the shape next to number (\d+)\?"):
        number = only(item for item in numbers if item.name == found[0])
        return str(only(beside(scene, number, "shape")).colour)
    if found := means(r"Which shape is next to number (\d+)\?"):
        return only(beside(scene, only(item for item in numbers if item.name == found[0]), "shape")).name
    if found := means(r"What colour is the (\w+)\?"):
        return str(shape(found[0]).colour)
    if found := means(r"Which shape is (\w+)\?"):
        return only(item for item in shapes if item.colour == found[0]).name
    raise AssertionError(f"unknown wording: {text}")


@pytest.mark.slow
@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "choice"])
def test_a_hundred_answers_are_true_of_their_scenes(name, crowded):
    for scene, question in composed_items(name, 20 if crowded else 100, crowded):
        assert truth(scene, question.text) == question.answer, (question, scene.items)


def test_the_letter_of_a_choice_indexes_the_one_true_option():
    for scene, question in composed_items("choice", 200):
        text, a, b, c, d = re.fullmatch(r"(.*\?) A (\w+) B (\w+) C (\w+) D (\w+)", question.text).groups()
        assert len({a, b, c, d}) == 4
        assert {"A": a, "B": b, "C": c, "D": d}[question.answer] == truth(scene, text), (question, scene.items)


def test_the_letters_of_a_choice_come_up_about_equally_often():
    letters = Counter(question.answer for _, question in composed_items("choice", 200))
    assert set(letters) == set("ABCD")
    assert max(letters.values()) < 70


def test_half_of_the_choices_need_two_facts():
    two = [question for _, question in composed_items("choice", 200) if re.search("pointing to|next to", question.text)]
    assert 80 <= len(two) <= 120


@pytest.mark.slow
@pytest.mark.parametrize(("name", "crowded"), [("pointing", False), ("pointing", True), ("choice", False)])
def test_what_a_question_calls_next_to_a_thing_is_the_only_thing_around_it(name, crowded):
    """Three rows up or down is a patch of distance at most: nothing else may be as near as the thing meant."""
    found = [
        (scene, question.text) for scene, question in composed_items(name, 600, crowded) if "next to" in question.text
    ]
    assert len(found) > 100
    for scene, text in found:
        named = re.search(r"next to (?:the|number) (\w+)\?", text)[1]
        item = only(item for item in scene.items if item.name == named)
        kind = "number" if item.kind == "shape" else "shape"
        assert len(beside(scene, item, kind, rows=3)) == 1, (text, scene.items)


# ---- evidence --------------------------------------------------------------------------------------------------------


def without(scene, gone):
    """The scene with nothing where these things were; the others keep their place in the list."""
    nothing = Item("nothing", "", None, 0, 0, 0)
    return replace(scene, items=[nothing if any(item is other for other in gone) else item for item in scene.items])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_a_question_is_about_gives_the_answer_by_itself(name):
    for scene, question in composed_items(name):
        others = [item for item in scene.items if not any(item is meant for meant in question.evidence)]
        text = question.text.partition(" A ")[0]
        assert truth(without(scene, others), text) == truth(scene, text), (question, scene.items)


@pytest.mark.parametrize("name", ["choice", "diagram", "pointing", "reading"])
def test_without_any_one_thing_that_a_question_is_about_it_has_no_answer(name):
    for scene, question in composed_items(name):
        assert question.evidence
        for item in question.evidence:
            with pytest.raises((ValueError, AttributeError)):
                truth(without(scene, [item]), question.text.partition(" A ")[0])


def test_a_question_whether_a_thing_is_there_is_about_it_exactly_where_it_is():
    for _, question in composed_items("presence"):
        assert bool(question.evidence) == (question.answer == "yes")


@pytest.mark.parametrize("name", NAMES)
def test_the_scene_behind_an_item_is_the_one_it_shows(name):
    scene, question = benchmarks.composed_item(name, "dev", 3)
    item = items(name)[3]
    assert (scene.image.tobytes(), question.text, (question.answer,)) == (
        item.image.tobytes(),
        item.question,
        item.answers,
    )
    assert all(any(meant is thing for thing in scene.items) for meant in question.evidence)


# ---- balance ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["presence", "perception"])
def test_yes_and_no_are_balanced(name):
    answers = Counter(item.answers[0] for item in items(name, 300))
    assert set(answers) == {"yes", "no"}
    assert 120 <= answers["yes"] <= 180


@pytest.mark.slow
@pytest.mark.parametrize("wording", ["exactly", r"Is the \w+ \w+\?", "half"])
def test_yes_and_no_are_balanced_for_every_wording_of_perception(wording):
    answers = [
        question.answer for _, question in composed_items("perception", 500) if re.search(wording, question.text)
    ]
    assert len(answers) > 50
    assert 0.38 <= answers.count("yes") / len(answers) <= 0.62


@pytest.mark.slow
def test_half_of_the_absent_things_combine_a_colour_and_a_shape_that_are_there():
    """Where the scene allows it; the other half does so by chance only."""
    mixed = []
    for scene, question in composed_items("presence", 400):
        there = {(shape.colour, shape.name) for shape in scene.of("shape")}
        combined = {(colour, name) for colour, _ in there for _, name in there} - there
        if question.answer == "no" and combined:
            mixed.append(tuple(question.text.removesuffix("?").split()[-2:]) in combined)
    assert 0.42 <= np.mean(mixed) <= 0.66


def test_a_benchmark_asks_nothing_about_a_scene_that_does_not_allow_it():
    rng, empty = np.random.default_rng(0), Scene(compose("dev", 0).image, [], "objects")
    assert [benchmarks.load(name).ask(empty, rng) for name in NAMES] == [None] * 6
