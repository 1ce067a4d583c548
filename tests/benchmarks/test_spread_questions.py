"""Every answer in the larger world is true of its scene, follows from the evidence alone, and is hard to guess."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import pytest

from grip_vlm.benchmarks.spread import GRID, LAYOUTS, TASKS, Thing, ask, compose, lessons, questions, score
from grip_vlm.benchmarks.spread.colours import COLOURS
from grip_vlm.benchmarks.spread.pixels import CLOTHES
from grip_vlm.benchmarks.spread.tasks import choice, diagram, perception, pointing, presence, reading
from grip_vlm.benchmarks.spread.thing import SHAPES

pytestmark = pytest.mark.slow

MODULES = {
    module.__name__.rpartition(".")[2]: module for module in (choice, diagram, perception, pointing, presence, reading)
}
KINDS = [(task, kind.__name__) for task, module in MODULES.items() for kind, _, _ in module.ASKED]
NOTHING = Thing("nothing", "", None, 0, 0, 0, 0)
COLOUR = "|".join(COLOURS)
NOUN = f"pairs? of trousers|handwritten \\d|{'|'.join((*SHAPES, *CLOTHES))}|shape"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@cache
def item(task, split, index):
    return ask(task, split, index)


def asked(task, kind=None, count=60, split="dev"):
    """Items of a task, or of one kind of its questions."""
    found = (item(task, split, index) for index in range(40 * count))
    out = list(islice(((s, q) for s, q in found if kind in (None, q.kind)), count))
    assert len(out) == count, f"{task} asks for {kind} less than once in forty items"
    return out


# ---- truth, from the things of a scene and the words of a question ---------------------------------------------------


def only(found):
    """The one thing that is meant; a question that means none or two is at fault itself."""
    (thing,) = found
    return thing


def mentions(text):
    """The colours and kinds of things that a text names, in its order: [(colour or None, kind)]."""
    found = re.findall(f"(?:\\b({COLOUR}) )?\\b({NOUN})(?:es|s)?\\b", text.lower())
    return [(colour or None, re.sub("pairs? of |handwritten ", "", kind)) for colour, kind in found]


def meant(scene, mention):
    colour, kind = mention
    things = scene.of("shape", "photograph", "digit")
    same = [thing for thing in things if thing.name == kind or (kind == "shape" and thing.part == "shape")]
    return [thing for thing in same if colour in (None, thing.colour)]


def signs(scene):
    return sorted((text for text in scene.of("text") if text.framed), key=lambda text: text.row)


def sign_of(scene, colour):
    return only(text for text in signs(scene) if text.colour == colour)


def sign_beside(scene, mention):
    thing = only(meant(scene, mention))

    def gap(sign):
        return max(sign.column - thing.column - thing.width, thing.column - sign.column - sign.width)

    return only(text for text in signs(scene) if abs(text.centre[1] - thing.centre[1]) <= 8 and gap(text) == 1)


def true_perception(scene, kind, text):
    named = mentions(text)
    if kind == "count":
        return str(len(meant(scene, only(named))))
    if kind == "total":
        return str(sum(len(meant(scene, mention)) for mention in named))
    if kind == "colours":
        return ", ".join(sorted({thing.colour for thing in meant(scene, only(named))}))
    if kind == "kinds":
        colour = re.search(COLOUR, text)[0]
        return ", ".join(sorted({thing.name for thing in scene.of("shape") if thing.colour == colour}))
    if kind == "colour":
        return only(meant(scene, only(named))).colour
    one, other = (only(meant(scene, mention)).centre for mention in named)
    if re.match("seen|on which|relative|starting", text.lower()):
        one, other = other, one
    dx, dy = one[0] - other[0], one[1] - other[1]
    assert max(abs(dx), abs(dy)) >= 2 * min(abs(dx), abs(dy))
    return ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else "above" if dy < 0 else "below"


def true_presence(scene, kind, text):
    there = [len(meant(scene, mention)) for mention in mentions(text)]
    if kind == "least":
        number = re.search("two|three|four|five|six|seven", text)[0]
        return only(there) >= ("two", "three", "four", "five", "six", "seven").index(number) + 2
    assert len(there) == (2 if kind == "both" else 1)
    return all(there)


def true_pointing(scene, kind, text):
    colours = re.findall(COLOUR, text)
    if kind == "frame":
        return sign_of(scene, only(colours)).name
    if kind == "beside":
        return sign_beside(scene, only(mentions(text))).name
    if kind == "two":
        return ", ".join(sorted(sign_of(scene, colour).name for colour in colours))
    at = signs(scene).index(sign_of(scene, only(colours)))
    others = signs(scene)[at + 1 :] if re.search("below", text) else signs(scene)[:at][::-1]
    return others[0].name


def true_reading(scene, kind, text):
    texts = scene.of("text")
    if kind == "odd":
        return only(t.name for t in texts if t.name.isdigit() == ("number" in text))
    if kind == "ink":
        colour = re.search(COLOUR, text)[0]
        return only(t.name for t in texts if t.colour == colour)
    rows = sorted({t.row for t in texts})
    nth = re.search(r"(\w+) line", text)[1]
    row = rows[-1] if nth == "last" else rows[ORDINALS.index(nth)]
    line = [t.name for t in sorted(texts, key=lambda t: t.column) if t.row == row]
    if kind == "line":
        return " ".join(line)
    which = only(re.findall("|".join(ORDINALS), re.sub(r"\w+ line", "", text)))
    return line[ORDINALS.index(which)]


def true_diagram(scene, kind, text):
    things, bars = scene.things, sorted(scene.of("bar"), key=lambda bar: bar.height)
    if kind == "bar":
        which = re.search("(second )?(tallest|lowest)", text)
        at = 1 if which[1] else 0
        chosen = bars[::-1][at] if which[2] == "tallest" else bars[at]
        return only(t.name for t in scene.of("text") if chosen.column <= t.column < chosen.column + 3)
    if kind == "taller":
        one = only(bar for bar in bars if bar.colour == re.search(COLOUR, text)[0])
        return str(sum(bar.height > one.height if "taller" in text else bar.height < one.height for bar in bars))
    box = re.search(f"({COLOUR}) box", text)
    named = box and only(t for t in things if t.part == "text" and t.colour == box[1])
    named = named or only(meant(scene, only(mentions(text))))
    after = {things[arrow.source]: things[arrow.target] for arrow in scene.of("arrow")}
    before = {end: start for start, end in after.items()}
    end = {"follow": lambda: after[named], "back": lambda: before[named], "chain": lambda: after[after[named]]}[kind]()
    return only([end.name] if end.part == "text" else [])


def true_choice(scene, kind, text):
    if kind == "count":
        return str(len(meant(scene, only(mentions(text)))))
    if kind == "pair":
        return " and ".join(str(len(meant(scene, mention))) for mention in mentions(text))
    if kind == "signs":
        (colour,) = re.findall(f"({COLOUR}) sign", text)
        return f"{sign_of(scene, colour).name}, {sign_beside(scene, mentions(text)[-1]).name}"
    label = only(t for t in scene.of("text") if t.name == re.search('"(.*)"', text)[1])
    one = only(bar for bar in scene.of("bar") if bar.column <= label.column < bar.column + 3)
    return str(sum(bar.height > one.height if "taller" in text else bar.height < one.height for bar in scene.of("bar")))


def options(text):
    return dict(re.findall(r"([abcd])\) (.*?)(?= [bcd]\) |$)", text))


def truth(scene, question):
    """The answer to a question, without a look at the answer that it gives."""
    text = question.text.partition(" a) ")[0]
    answer = globals()[f"true_{question.task}"](scene, question.kind, text)
    if question.task == "presence":
        return "yes" if answer else "no"
    if question.task != "choice":
        return answer
    return only(letter for letter, option in options(question.text).items() if option == answer)


@pytest.mark.parametrize(("task", "kind"), KINDS)
def test_the_answer_is_true_of_the_scene(task, kind):
    for scene, question in asked(task, kind, 40):
        assert truth(scene, question) == question.answer, (question, scene.things)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_of_the_many_questions_about_one_scene_is_answered_truly(layout):
    for index in range(20):
        scene = compose("train", index, layout=layout)
        found = questions(scene, np.random.default_rng(index))
        assert len({question.text for question in found}) == len(found)
        for question in found:
            assert truth(scene, question) == question.answer, (question, scene.things)


def test_there_are_nine_questions_and_lessons_about_most_scenes():
    enough = []
    for index in range(100):
        scene, rng = compose("train", index), np.random.default_rng(index)
        enough.append(len(questions(scene, rng)) >= 9 and len(lessons(scene, rng)) >= 5)
    assert np.mean(enough) > 0.85


# ---- evidence --------------------------------------------------------------------------------------------------------


def standing_on(scene, patches):
    """The scene with nothing where a thing touches none of the patches; the others keep their place in the list."""
    kept = set(patches)
    return replace(scene, things=tuple(t if kept.intersection(t.patches) else NOTHING for t in scene.things))


@pytest.mark.parametrize(("task", "kind"), KINDS)
def test_what_stands_on_the_evidence_gives_the_answer_by_itself(task, kind):
    for scene, question in asked(task, kind, 20):
        assert truth(standing_on(scene, question.evidence), question) == question.answer, question


@pytest.mark.parametrize(("task", "kind"), KINDS)
def test_without_what_any_one_unit_shows_the_answer_is_another_or_there_is_none(task, kind):
    if (task, kind) == ("presence", "both"):
        pytest.skip("where one of two is missing already, the answer is no without the other too")
    for scene, question in asked(task, kind, 20):
        if question.answer == "no":
            continue
        for unit in question.units:
            rest = set(range(GRID * GRID)).difference(*(t.patches for t in scene.things if set(unit) & set(t.patches)))
            try:
                found = truth(standing_on(scene, rest), question)
            except (ValueError, IndexError, KeyError, AttributeError, TypeError):
                continue
            assert found != question.answer, question


@pytest.mark.parametrize("task", TASKS)
def test_units_are_apart_and_the_evidence_is_all_of_them_and_of_the_pointers(task):
    for _, question in asked(task):
        units = [patch for unit in question.units for patch in unit]
        assert len(set(units)) == len(units)
        assert all(question.units)
        assert all(question.pointers)
        assert set(question.evidence) == {*units, *(patch for pointer in question.pointers for patch in pointer)}
        assert list(question.evidence) == sorted(set(question.evidence))
        assert question.sufficient <= question.certain <= len(question.evidence)


@pytest.mark.parametrize("task", TASKS)
def test_every_patch_of_the_evidence_has_a_thing_on_it(task):
    for scene, question in asked(task):
        part = scene.labels.reshape(GRID * GRID, -1)[:, 0]
        assert (part[list(question.evidence)] > 0).all()


def test_nothing_is_needed_exactly_where_nothing_is_there_to_be_seen():
    for task, zero in (("perception", "0"), ("presence", "no"), ("diagram", "0")):
        for _, question in asked(task, count=200):
            assert not (question.sufficient == 0 and question.answer != zero)
            if question.kind in ("count", "taller", "single"):
                assert (question.sufficient == 0) == (question.answer == zero)


def test_a_text_needs_as_many_patches_as_it_has_characters():
    for task in ("reading", "pointing"):
        for _, question in asked(task):
            assert question.sufficient == len(re.sub("[ ,]", "", question.answer))


def test_a_count_needs_as_many_patches_as_there_are_things():
    for kind in ("count", "total"):
        assert all(str(question.sufficient) == question.answer for _, question in asked("perception", kind))


# ---- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_same_item_is_the_same_again(task):
    for index, (scene, question) in enumerate(asked(task, count=10)):
        again = ask(task, "dev", index)
        assert again == (scene, question)
        assert again[0].image.tobytes() == scene.image.tobytes()


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown task 'vqa'; choose from choice, diagram"):
        ask("vqa", "dev", 0)


@pytest.mark.parametrize(
    ("prediction", "right"), [(" Blue, red. ", 1.0), ("red and blue", 1.0), ("red", 0.0), ("", 0.0)]
)
def test_a_list_is_right_in_any_order(prediction, right):
    assert score(prediction, ["blue, red"]) == right


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_of_another_item_scores_zero(task):
    answers = sorted({question.answer for _, question in asked(task)})
    assert score(answers[0], [answers[0]]) == 1.0
    assert [score(answer, [answers[0]]) for answer in answers[1:]] == [0.0] * (len(answers) - 1)


def test_every_kind_of_question_has_five_phrasings_for_training_and_two_held_out():
    for module in MODULES.values():
        tables = [value for name, value in vars(module).items() if name.isupper() and isinstance(value, tuple)]
        tables = [table for table in tables if all(isinstance(text, str) and " " in text for text in table)]
        assert len(tables) >= 3
        assert all(len(set(table)) == 7 for table in tables)


def test_two_phrasings_are_never_used_in_training_and_the_last_never_on_dev():
    used = {
        split: {question.text[:12] for _, question in asked("pointing", "frame", 150, split)}
        for split in ("train", "dev", "test")
    }
    assert {"Tell me what", "Which text h"} & used["train"] == set()
    assert {"Tell me what", "Which text h"} & used["dev"] == {"Which text h"}
    assert {"Tell me what", "Which text h"} <= used["test"]


# ---- balance ---------------------------------------------------------------------------------------------------------


def test_each_of_the_ten_counts_comes_up_as_often():
    found = Counter(question.answer for _, question in asked("perception", "count", 400))
    assert set(found) == set("0123456789")
    assert max(found.values()) < 65


@pytest.mark.parametrize("kind", ["single", "both", "least"])
def test_yes_and_no_are_balanced(kind):
    found = Counter(question.answer for _, question in asked("presence", kind, 200))
    assert 75 <= found["yes"] <= 125


def test_the_letters_of_a_choice_come_up_as_often():
    found = Counter(question.answer for _, question in asked("choice", count=400))
    assert min(found[letter] for letter in "abcd") > 70


def test_the_place_of_the_right_number_among_the_four_tells_nothing():
    for kind in ("count", "label"):
        ranks = Counter()
        for _, question in asked("choice", kind, 120):
            shown = options(question.text)
            ranks[sorted(map(int, shown.values())).index(int(shown[question.answer]))] += 1
        assert max(ranks.values()) < 48
