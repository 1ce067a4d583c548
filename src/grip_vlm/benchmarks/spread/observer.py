"""The ideal observer: how often a question is answered right from k patches, by one who makes no mistake.

He knows the question, how scenes are composed, and the exact labels of the k patches that he is shown. He is shown the
best ones: an oracle that knows the answer shows one patch of each of k units (`Question.units`), or of all units and
nothing else where there are fewer. He trusts that: where fewer than k units are shown, he knows that he has seen all.
He answers what is most probable; `chance` is the probability that this is right.

Where a choice had to be made it was made in his favour, so that the numbers are upper bounds:
- counts: he has seen the number itself if it is below k; otherwise the number is k or more, and he says the most
  probable of these, as estimated from many questions of the kind (`Prior`).
- texts: he knows how long each text is and where in it each shown character stands. The oracle shows those characters
  that leave the fewest words. He says any of the words of all splits that are left; unseen digits are guessed.
- lists: he says the colours or kinds that he has seen; of two to four, having seen one, he guesses one more of eleven.
- relations: from one of the two things he says where such a thing mostly is, given where in the image it stands
  (`Prior`, by cells of four patches); the oracle shows whichever of the two makes him right.
- yes or no: one unit tells whether a single thing is there; of two things both must be seen, and of n at least n.
- options of a choice: a number is known as a count is, only among the four options. Of two numbers, each is known once
  all its things are seen; of two texts, each is known by one character that tells it from the other one offered.

Blind is k = 0. `certain` is the same observer, who first has to be shown every pointer (`Question.pointers`): what one
needs who does not trust. `seen_by_chance` is the third, shown any k of the 576 patches: he is right where they hold all
units and pointers, and else as often as a blind one.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.texts import vocabulary
from grip_vlm.benchmarks.spread.thing import GRID

SIDES = ("left", "right", "above", "below")
COUNTED = ("count", "total", "taller", "label")
CELL = 4  # patches; how finely the prior of relations looks at where a thing is


@dataclass
class Prior:
    """What the observer knows before he sees anything: how often each answer is right, by kind of question."""

    answers: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    sides: dict[tuple[int, int, int], Counter[str]] = field(default_factory=dict)
    """for relations: answers by which of the two things it is, and the row and column of its cell"""

    @classmethod
    def of(cls, questions: Iterable[Question]) -> "Prior":
        """Estimated from questions that are not the ones asked."""
        prior = cls()
        for question in questions:
            prior.answers.setdefault((question.task, question.kind), Counter())[question.answer] += 1
            if question.kind == "relation":
                for place in _places(question):
                    prior.sides.setdefault(place, Counter())[question.answer] += 1
        return prior


def _places(question: Question) -> list[tuple[int, int, int]]:
    rows_columns = [divmod(unit[0], GRID) for unit in question.units]
    return [(which, row // CELL, column // CELL) for which, (row, column) in enumerate(rows_columns)]


def blind(question: Question, prior: Prior) -> float:
    """The chance to be right without any patch: the most frequent answer to its kind of question."""
    if question.task == "choice":
        return 0.25
    return float(prior.answers[question.task, question.kind].most_common(1)[0][0] == question.answer)


def chance(question: Question, k: int, prior: Prior) -> float:
    """The chance to be right with the best k patches; with all that there is to see where there are fewer.

    Raises:
        ValueError: a kind of question that the observer does not know, or a word that is in no split.
    """
    if k == 0:
        return blind(question, prior)
    kind, units = question.kind, len(question.units)
    if question.task == "choice":
        return _choice(question, k)
    if kind in COUNTED:
        return _counted(question, k, prior)
    if kind in ("colours", "kinds"):
        return 1.0 if k >= units else float(k == 1 and units == 2) / 11
    if kind == "relation":
        return 1.0 if k > 1 else _relation(question, prior)
    if kind in ("single", "colour"):
        return 1.0
    if kind in ("both", "least"):
        return float(k >= units + (question.answer == "no")) or 0.5
    if question.task in ("reading", "pointing", "diagram"):
        return _read(tuple(question.answer.replace(",", "").split()))[min(k, units)]
    raise ValueError(f"the observer does not know how to answer questions of kind {kind!r}")


def certain(question: Question, k: int, prior: Prior) -> float:
    """The same for one who has to be shown every pointer first."""
    left = k - len(question.pointers)
    return chance(question, left, prior) if left > 0 else blind(question, prior)


def seen_by_chance(question: Question, patches: Iterable[int], prior: Prior) -> float:
    """The chance to be right with these patches: 1 where they touch every unit and pointer, else as if blind."""
    shown = set(patches)
    if all(shown.intersection(unit) for unit in (*question.units, *question.pointers)):
        return 1.0
    return blind(question, prior)


def _counted(question: Question, k: int, prior: Prior) -> float:
    number = int(question.answer)
    if number < k:
        return 1.0
    counts = prior.answers[question.task, question.kind]
    return float(max((n for n in counts if int(n) >= k), key=lambda n: counts[n]) == question.answer)


def _relation(question: Question, prior: Prior) -> float:
    known = [prior.sides[place] for place in _places(question) if place in prior.sides]
    return float(any(counts.most_common(1)[0][0] == question.answer for counts in known) or not known)


def _choice(question: Question, k: int) -> float:
    options = re.findall(r"[abcd]\) (.*?)(?= [bcd]\) |$)", question.text)
    if question.kind == "signs":
        return 1.0 if k > 1 else 0.5
    if question.kind == "pair":
        first, second = sorted(int(n) for n in options["abcd".index(question.answer)].split(" and "))
        return 1.0 if k >= first + second else 0.5 if k >= first else 0.25
    number = int(options["abcd".index(question.answer)])
    return 1.0 if number < k else 1 / sum(int(option) >= k for option in options)


@cache
def _read(texts: tuple[str, ...]) -> tuple[float, ...]:
    """The chance to say all of these texts right with 0, 1, ... all of their characters shown."""
    curves = [_curve(text) for text in texts]
    shown, chances = [0] * len(texts), []
    while True:
        chances.append(float(np.prod([curve[at] for curve, at in zip(curves, shown, strict=True)])))
        open_ = [i for i, text in enumerate(texts) if shown[i] < len(text)]
        if not open_:
            return tuple(chances)
        best = max(open_, key=lambda i: curves[i][shown[i] + 1] / curves[i][shown[i]])
        shown[best] += 1


@cache
def _curve(text: str) -> tuple[float, ...]:
    """The same for one text: for a number each digit is one of ten (the first of nine), a word one of those left."""
    if text.isdigit():
        return tuple(0.1 ** (len(text) - k) * (10 / 9 if k == 0 else 1) for k in range(len(text) + 1))
    words = np.array([list(word) for word in vocabulary() if len(word) == len(text)])  # (words, letters)
    if text not in vocabulary():
        raise ValueError(f"{text!r} is no word of the world's list, so the observer cannot guess it")
    same = words == np.array(list(text))
    left, curve, free = np.ones(len(same), dtype=bool), [1 / len(same)], set(range(len(text)))
    while free:
        at = min(free, key=lambda i: int((left & same[:, i]).sum()))
        free.remove(at)
        left &= same[:, at]
        curve.append(1 / int(left.sum()))
    return tuple(curve)
