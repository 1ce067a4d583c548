"""ScienceQA's stand-in: four options and a letter; three of four questions join two facts."""

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene
from grip_vlm.benchmarks.spread.tasks import Asked
from grip_vlm.benchmarks.spread.tasks.perception import COUNT, groups
from grip_vlm.benchmarks.spread.texts import words
from grip_vlm.benchmarks.spread.thing import Patches
from grip_vlm.benchmarks.spread.wording import matching, named, phrase, plural

LETTERS = "abcd"
PAIR = (
    "how many {things} and how many {others} are there?",
    "how many {things} are there, and how many {others}?",
    "count the {things}, then the {others}.",
    "what are the numbers of {things} and of {others}?",
    "which is right for the {things} and the {others}, in this order?",
    "first the {things}, then the {others}: how many of each?",
    "how often do you see {things}, and how often {others}?",
)
SIGNS = (
    "what do the {colour} sign and the sign beside the {one} say?",
    "what is written on the {colour} sign and on the sign beside the {one}?",
    "which texts are on the {colour} sign and next to the {one}?",
    "read the {colour} sign, then the sign next to the {one}.",
    "which is right for the {colour} sign and the one beside the {one}, in this order?",
    "first the {colour} sign, then the sign at the side of the {one}: what do they say?",
    "choose what stands on the {colour} sign and what stands next to the {one}.",
)
LABEL = (
    "how many bars are {than} than the one labelled {label}?",
    "how many bars are {than} than the bar of {label}?",
    "count the bars that are {than} than the bar above {label}.",
    "what is the number of bars {than} than the one of {label}?",
    "find the bar of {label}. How many bars are {than}?",
    "next to the bar that stands on {label}, how many bars are {than}?",
    "looking at {label}, how many other bars are {than}?",
)


def _options(text: str, right: str, wrong: list[str], rng: np.random.Generator) -> tuple[str, str]:
    """The question with its four options in random order, and the letter of the right one."""
    options = [right, *wrong]
    order = rng.permutation(4)
    shown = " ".join(f"{letter}) {options[i]}" for letter, i in zip(LETTERS, order, strict=True))
    return f"{text} {shown}", LETTERS[int(np.flatnonzero(order == 0)[0])]


def _numbers(want: int, lowest: int, highest: int) -> tuple[int, list[str]]:
    """A number to ask for, and three others that make four successive ones with it, from `lowest` to `highest`.

    The four are drawn first, so that where a number is among them tells nothing.
    """
    low = lowest + want // 4 % (highest - lowest - 2)
    number = low + want % 4
    return number, [str(other) for other in range(low, low + 4) if other != number]


def count(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """How many there are, from two to nine."""
    number, wrong = _numbers(want, 2, 9)
    candidates = groups(scene, number)
    if not candidates:
        return None
    group = candidates[rng.integers(len(candidates))]
    text = phrase(rng, scene.split, COUNT, things=plural(*group))
    text, letter = _options(text, str(number), wrong, rng)
    units = tuple(thing.patches for thing in matching(scene, *group))
    return Question(text, letter, "choice", "count", units)


def pair(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """The numbers of two kinds; each is right in two of the options, and one more or less in the other two.

    The two numbers offered for a kind are drawn first, so that the lower is right as often as the higher.
    """
    lows, highs = (1 + want % 4, 1 + want // 4 % 4), (want // 16 % 2, want // 32 % 2)
    rights = [low + high for low, high in zip(lows, highs, strict=True)]
    names = sorted({thing.name for thing in scene.of("shape", "photograph", "digit")})
    ones, others = ([name for name in names if len(matching(scene, name, None)) == right] for right in rights)
    pairs = [(one, other) for one in ones for other in others if one != other]
    if not pairs:
        return None
    one, other = pairs[rng.integers(len(pairs))]
    decoys = [low + 1 - high for low, high in zip(lows, highs, strict=True)]
    wrong = [f"{rights[0]} and {decoys[1]}", f"{decoys[0]} and {rights[1]}", f"{decoys[0]} and {decoys[1]}"]
    text = phrase(rng, scene.split, PAIR, things=plural(one), others=plural(other))
    text, letter = _options(text, f"{rights[0]} and {rights[1]}", wrong, rng)
    counted = [*matching(scene, one, None), *matching(scene, other, None)]
    return Question(text, letter, "choice", "pair", tuple(thing.patches for thing in counted))


def _like(rng: np.random.Generator, scene: Scene, text: str) -> str | None:
    """Another text that can be taken for it: a number with one digit changed, a word of its length and first letter."""
    if text.isdigit():
        at = int(rng.integers(len(text)))
        digit = str(rng.integers(int(at == 0), 10))
        changed = text[:at] + digit + text[at + 1 :]
        return changed if changed != text else None
    near = [word for word in words(scene.split, len(text), len(text)) if word[0] == text[0] and word != text]
    return near[rng.integers(len(near))] if near else None


def signs(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """What two signs say; each is right in two of the options. One is known by its frame, one by what is beside it."""
    candidates = [sign for sign in scene.of("text") if sign.framed and sign.partner is not None]
    if len(candidates) < 2:
        return None
    one, other = (candidates[i] for i in rng.permutation(len(candidates))[:2])
    thing = scene.partner(other)
    decoys = _like(rng, scene, one.name), _like(rng, scene, other.name)
    if thing is None or named(scene, thing) is None or decoys[0] is None or decoys[1] is None:
        return None
    wrong = [f"{one.name}, {decoys[1]}", f"{decoys[0]}, {other.name}", f"{decoys[0]}, {decoys[1]}"]
    text = phrase(rng, scene.split, SIGNS, colour=str(one.colour), one=str(named(scene, thing)))
    text, letter = _options(text, f"{one.name}, {other.name}", wrong, rng)
    units = (*_differing(one.name, decoys[0], one.characters), *_differing(other.name, decoys[1], other.characters))
    return Question(text, letter, "choice", "signs", units, (one.frame, thing.patches))


def _differing(text: str, decoy: str, characters: tuple[Patches, ...]) -> tuple[Patches, ...]:
    """One unit: the characters by which a text is told from its decoy, any of which does."""
    distinct = (patches for right, wrong, patches in zip(text, decoy, characters, strict=True) if right != wrong)
    return (sum(distinct, ()),)


def label(scene: Scene, rng: np.random.Generator, want: int) -> Question | None:
    """How many bars are taller, or lower, than the bar with a label."""
    bars = sorted(scene.of("bar"), key=lambda thing: thing.height)
    more, (rank, wrong) = rng.random() < 0.5, _numbers(want, 0, 5)
    if len(bars) <= rank:
        return None
    one = bars[-1 - rank] if more else bars[rank]
    written = scene.partner(one)
    assert written is not None
    text = phrase(rng, scene.split, LABEL, than="taller" if more else "lower", label=f'"{written.name}"')
    text, letter = _options(text, str(rank), wrong, rng)
    counted = bars[len(bars) - rank :] if more else bars[:rank]
    return Question(
        text, letter, "choice", "label", tuple(thing.top for thing in counted), (*written.characters, one.top)
    )


ASKED: Asked = ((count, "objects", 2), (pair, "objects", 4), (signs, "signs", 2), (label, "chart", 1))
