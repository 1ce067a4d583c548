"""Prompts, scores and metrics of published benchmarks agree with lmms-eval 0.7.3, on vectors computed with it."""

from dataclasses import dataclass
from math import isnan

import pytest

from grip_vlm import benchmarks
from grip_vlm.benchmarks.evalai import normalise
from grip_vlm.benchmarks.tasks.mme import CATEGORIES, parsed_answer
from grip_vlm.benchmarks.tasks.ocrbench import PARTS

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class Answer:
    """What a summary reads of a row."""

    prediction: str = ""
    target: str = ""
    score: float = 0.0
    group: str = ""


# ---- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("pope", f"Is there a lawn in the image?{SHORT}"),
        ("pope:words", f"Is there a lawn in the image?{SHORT}"),
        ("mme", f"Is the square red?{SHORT}"),
        ("scienceqa", f"Context: Leaves have it.\nWhich colour is shown?\nA. red\nB. green\nC. blue{LETTER}"),
        ("ai2d", f"What does the square stand for?\nA. sun\nB. leaf\nC. water\nD. soil{LETTER}"),
        ("ocrbench", "what is written in the image?"),
        ("textvqa", f"What brand is the phone?{SHORT}"),
        ("textvqa:ocr", f"What brand is the phone?\nReference OCR token: NOKIA, 3G{SHORT}"),
        ("gqa", f"What colour is the square?{SHORT}"),
    ],
)
def test_a_row_is_asked_as_the_field_asks_it(name, prompt):
    benchmark = benchmarks.load(name)
    assert benchmark.ask(benchmark.example_rows()[0]).text == prompt


def test_a_science_question_without_a_hint_has_no_context():
    benchmark = benchmarks.load("scienceqa")
    assert benchmark.ask(benchmark.example_rows()[1]).text.startswith("Which colour")


def test_the_question_of_textvqa_loses_its_capitals_but_the_first():
    row = {**benchmarks.load("textvqa").example_rows()[0], "question": "what does the NHS sign say?"}
    assert benchmarks.load("textvqa").ask(row).text == f"What does the nhs sign say?{SHORT}"


def test_the_target_of_textvqa_is_what_most_people_answered():
    row = {
        **benchmarks.load("textvqa").example_rows()[0],
        "answers": ["a", "b", "c", "b", "c", "b", "d", "e", "f", "g"],
    }
    answers = benchmarks.load("textvqa").ask(row).answers
    assert answers[:5] == ("b", "b", "b", "c", "c")
    assert sorted(answers) == sorted(row["answers"])


# ---- one answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *(("No.", "no"), ("Not sure", "no"), ("nope", "no"), ("I think yes", "other"), ("The answer is no", "other")),
        *(("Y", "yes"), ("n", "no"), ("x", "other"), ("", "other"), (" Yes, it is", "yes"), ("no, yes", "no")),
    ],
)
def test_mme_reads_yes_or_no_from_the_first_four_characters(text, label):
    assert parsed_answer(text) == label


@pytest.mark.parametrize(
    ("variant", "text", "score"),
    [
        *(("pope", "No", 1.0), ("pope", " no ", 1.0), ("pope", "no.", 0.0), ("pope", "no, there is not", 0.0)),
        *(("pope:words", "no.", 1.0), ("pope:words", "no, there is not", 1.0), ("pope:words", "It is not.", 1.0)),
        *(("pope:words", "Yes. There is no doubt", 0.0), ("pope:words", "nothing", 0.0), ("pope:words", "NO", 0.0)),
    ],
)
def test_pope_has_a_strict_parser_and_the_original_one(variant, text, score):
    assert benchmarks.load(variant).score(text, ("no",)) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        *(("B", 1.0), ("b", 1.0), ("B.", 1.0), ("B. cat", 1.0), (" B ", 1.0)),
        *(("(B)", 0.0), ("The answer is B", 0.0), ("B) cat", 0.0), ("b. cat", 0.0), ("C. cat", 0.0), ("", 0.0)),
    ],
)
def test_scienceqa_takes_a_letter_or_a_capital_with_a_full_stop(text, score):
    assert benchmarks.load("scienceqa").score(text, ("B",)) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        *(("B", 1.0), ("b", 1.0), ("(B)", 1.0), ("B.", 1.0), ("B. cat", 1.0), ("b.", 1.0), (" B", 1.0)),
        *(("b. cat", 0.0), ("B cat", 0.0), ("C. B", 0.0)),
    ],
)
def test_ai2d_takes_a_leading_capital_or_the_whole_text_bare(text, score):
    assert benchmarks.load("ai2d").score(text, ("B",)) == score


@pytest.mark.parametrize(("text", "score"), [("Left.", 1.0), ("left", 1.0), ("the left", 0.0), ("left hand", 0.0)])
def test_gqa_ignores_case_and_punctuation_only(text, score):
    assert benchmarks.load("gqa").score(text, ("left",)) == score


TEXT, FORMULA = "Regular Text Recognition/IIIT5K", "Handwritten Mathematical Expression Recognition/HME100k"


@pytest.mark.parametrize(
    ("group", "text", "answers", "score"),
    [
        (TEXT, "It says Centre Street.", ["CENTRE"], 1.0),
        (TEXT, "it says\ncentre", ["says centre"], 1.0),
        (TEXT, "\uff23\uff25\uff2e\uff34\uff32\uff25\u3000\uff11", ["centre 1"], 1.0),  # in full width
        (TEXT, "cent re", ["centre"], 0.0),
        (TEXT, "second", ["first", "second"], 1.0),
        (FORMULA, "$\\frac{X}{2}$", ["\\frac { X } { 2 }"], 1.0),
        (FORMULA, "\\frac{x}{2}", ["\\frac { X } { 2 }"], 0.0),
        (FORMULA, "\\frac{X}\n{2}", ["\\frac{X}{2}"], 1.0),
    ],
)
def test_ocrbench_finds_the_answer_in_the_text_by_the_rule_of_its_kind(group, text, answers, score):
    assert benchmarks.load("ocrbench").score(text, answers, group) == score


@pytest.mark.parametrize(("agreeing", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_textvqa_scores_by_how_many_of_ten_people_agree(agreeing, score):
    answers = ["The Nokia."] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert benchmarks.load("textvqa").score("nokia", answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        *(("The Nokia.", "nokia"), ("3.5 mm", "3.5 mm"), ("1,000", "1000"), ("coca-cola", "coca cola")),
        *(("dont", "don't"), ("two-way", "2 way"), ("U.S.A.", "usa"), ("it's", "it 's"), ("a b. c", "b c")),
        *(("well - known-to", "well knownto"), ("couldnt've", "couldn't've"), ("none\tof\nten", "0 of 10")),
    ],
)
def test_answers_of_textvqa_are_normalised_as_the_server_does(text, normal):
    assert normalise(text) == normal


# ---- many answers ----------------------------------------------------------------------------------------------------


def pope(variant, answers, group="popular"):
    benchmark = benchmarks.load(variant)
    return [Answer(text, gold, benchmark.score(text, (gold,)), group) for gold, text in answers]


VECTOR = [("yes", "Yes"), ("yes", "yes."), ("yes", "No"), ("no", "No"), ("no", "Yes"), ("no", "no, there is not")]


def test_the_metrics_of_pope_are_those_of_the_vector():
    found = benchmarks.load("pope").metrics(pope("pope", VECTOR))
    assert found["accuracy"] == pytest.approx(100 / 3)
    assert (found["precision"], found["recall"], found["F1"]) == (50, 50, 50)


def test_the_share_of_yes_in_pope_is_that_of_the_predictions():
    rows = pope("pope", [("yes", "yes"), ("no", "yes"), ("no", "yes"), ("yes", "no"), ("yes", "maybe")])
    assert benchmarks.load("pope").metrics(rows)["yes"] == pytest.approx(60)


def test_the_original_parser_of_pope_reads_every_answer():
    found = benchmarks.load("pope:words").metrics(pope("pope:words", VECTOR))
    assert found["accuracy"] == pytest.approx(100 * 4 / 6)  # all but the two plain mistakes
    assert found["F1"] == pytest.approx(100 * 2 / 3)


def test_the_f1_of_popes_sets_is_averaged_once_all_three_are_there():
    right, wrong = [("yes", "yes"), ("no", "no")], [("yes", "no"), ("no", "yes")]
    rows = pope("pope", right, "random") + pope("pope", right, "popular")
    benchmark = benchmarks.load("pope")
    assert isnan(benchmark.metrics(rows)["F1, mean of sets"])
    rows += pope("pope", wrong, "adversarial")
    assert benchmark.metrics(rows)["F1, mean of sets"] == pytest.approx(200 / 3)
    assert benchmark.metrics(rows)["F1"] == pytest.approx(200 / 3)


def test_pope_without_a_single_yes_has_an_f1_and_a_precision_of_zero():
    found = benchmarks.load("pope").metrics(pope("pope", [("yes", "no"), ("no", "no")]))
    assert (found["F1"], found["precision"]) == (0, 0)


def mme(categories, scores):
    """Pairs of scores, one per image, in each category."""
    return [
        Answer(score=score, group=f"{name}/{image}")
        for name in categories
        for image, pair in enumerate(scores)
        for score in pair
    ]


def test_a_category_of_mme_adds_accuracy_over_questions_and_over_images():
    """83.333 points each for images with (1, 1), (1, 0) and (0, 0)."""
    rows = mme(CATEGORIES["perception"] + CATEGORIES["cognition"], [(1, 1), (1, 0), (0, 0)])
    found = benchmarks.load("mme").metrics(rows)
    assert found["perception"] == pytest.approx(833.333, abs=1e-3)
    assert found["cognition"] == pytest.approx(333.333, abs=1e-3)
    assert found["total"] == pytest.approx(1166.667, abs=1e-3)


def test_everything_right_gives_2000_and_800_points():
    assert benchmarks.load("mme:perception").metrics(mme(CATEGORIES["perception"], [(1, 1)])) == {"perception": 2000}
    assert benchmarks.load("mme:cognition").metrics(mme(CATEGORIES["cognition"], [(1, 1)])) == {"cognition": 800}


@pytest.mark.parametrize("drop", [slice(0, 1), slice(0, 2)], ids=["a question", "a category"])
def test_mme_has_no_points_where_something_is_missing(drop):
    rows = mme(CATEGORIES["perception"], [(1, 1)])
    del rows[drop]
    assert isnan(benchmarks.load("mme:perception").metrics(rows)["perception"])


def test_the_variants_of_mme_share_its_categories_out():
    rows = [{"category": name} for names in CATEGORIES.values() for name in names]
    kept = {name: [row for row in rows if benchmarks.load(name).in_variant(row)] for name in ("mme", "mme:perception")}
    assert kept["mme"] == rows
    assert kept["mme:perception"] == rows[:10]
    assert [row for row in rows if benchmarks.load("mme:cognition").in_variant(row)] == rows[10:]


def test_the_score_of_ocrbench_is_of_1000_and_its_parts_are_per_cent():
    rows = [Answer(score=score, group=f"{PARTS['documents'][0]}/DocVQA") for score in (1, 0)]
    rows += [Answer(score=score, group=f"{kind}/some") for kind in PARTS["recognition"][:2] for score in (1, 1, 1)]
    found = benchmarks.load("ocrbench").metrics(rows)
    assert (found["score"], found["documents"], found["recognition"]) == (875, 50, 100)
    assert isnan(found["formulas"])
