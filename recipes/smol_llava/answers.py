"""Stage c, answers: low-rank updates of the language model and the projector learn from questions about scenes.

Eight scenes a step, each with as many questions as fit behind it. Single facts come first, then the six tasks among
them. Most steps show few visual tokens (`thinning.py`), some all of them.
"""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import Question, Scene, compose, lessons, questions
from smol_llava.align import Projector, features
from smol_llava.language import Language
from smol_llava.loop import Plan, Step, run
from smol_llava.measure import Reader, summary
from smol_llava.notes import note
from smol_llava.own_words import words_loss
from smol_llava.packing import IGNORE, Packed, Packer, assemble
from smol_llava.thinning import PATCHES, thinned
from smol_llava.tower import pixels
from smol_llava.words import naming_loss, word_points

NAMING = 0.3  # weight of the alignment loss, which goes on
WORDS_EVERY = 10  # a step on the language model's own words


@dataclass(frozen=True)
class Answers:
    """How stage c is run."""

    images: int = 8
    """of a step; half as many in a step that shows all visual tokens"""
    counts: tuple[int, ...] = (48, 96, 96, 160, 160, 160, 576)
    """visual tokens shown, drawn anew for every step"""
    first: float = 0.2
    """share of the steps that take notes only, and never show all visual tokens"""
    update_rate: float = 1e-3
    projector_rate: float = 1e-3
    check_every: int = 200
    check_items: int = 16
    """of each task, when dev is looked at"""


def asked_of(scene: Scene, rng: np.random.Generator, first: bool) -> list[Question]:
    """Questions in the order in which they are packed: notes alone, or a question, a lesson and a note in turn."""
    if first:
        return [note(lesson) for lesson in lessons(scene, rng, tries=80)]
    tasks, taught = questions(scene, rng), lessons(scene, rng, tries=40)
    turns = zip_longest(tasks, taught[::2], map(note, taught[1::2]))
    return [question for turn in turns for question in turn if question is not None]


def answer_loss(language: Language, hidden: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """Cross-entropy over answer tokens, and the share of them that come first; `hidden` is (B, T, D)."""
    is_answer = packed.target != IGNORE
    logits = language.logits(hidden[is_answer])  # (answer tokens, vocabulary)
    return F.cross_entropy(logits, packed.target[is_answer]), (
        logits.argmax(-1) == packed.target[is_answer]
    ).float().mean()


def train_answers(
    plan: Plan,
    tower: CLIPVisionModel,
    projector: Projector,
    language: Language,
    packer: Packer,
    own: Several[tuple[list[int], list[int]]],
    config: Answers,
    seed: int,
) -> None:
    """Train updates and projector in place; goes on where the plan's state is.

    Args:
        own: what `own_words.write_down` gives.
    """
    longest = max(len(prompt) + len(answer) for prompt, answer in own)
    points, before = word_points(language.words, packer.tokenizer), language.embed(packer.before)

    def words_step(rng: np.random.Generator) -> Step:
        chosen = [own[i] for i in rng.choice(len(own), min(8, len(own)), replace=False)]
        loss, first = words_loss(language, chosen, longest)
        return Step(0.5 * loss, lambda: f"own words {loss:.3f} right {first:.3f}")

    def step_of(number: int) -> Step:
        rng = np.random.default_rng([seed, 3, number])
        if number % WORDS_EVERY == WORDS_EVERY - 1:
            return words_step(rng)
        first = number < config.first * plan.steps
        tokens = int(rng.choice([count for count in config.counts if count < PATCHES or not first]))
        images = config.images if tokens < PATCHES else config.images // 2
        scenes = [compose("train", number * config.images + i) for i in range(images)]
        asked = [packer.fitting(asked_of(scene, rng, first)) for scene in scenes]
        asked, kept = thinned(scenes, asked, tokens, rng)
        packed = packer.pack(asked)
        values = pixels(np.stack([scene.pixels for scene in scenes]), rng)
        visual = projector(features(tower, values))
        labels = torch.from_numpy(np.stack([scene.labels for scene in scenes])).long().flatten(1, 2)
        naming = naming_loss(visual, points, labels)
        made = assemble(before, visual, kept, language.embed(packed.ids), packed, PATCHES)
        hidden = language(made.embeddings, made.positions, made.mask)[:, -packed.ids.shape[1] :]
        loss, right = answer_loss(language, hidden, packed)
        count = int(packed.segment.amax(1).sum())
        shown = f"tokens {kept.shape[1]} questions {count}"
        return Step(loss + NAMING * naming, lambda: f"answers {loss:.3f} right {right:.3f} naming {naming:.4f} {shown}")

    def check(number: int) -> str:
        if number % config.check_every and number != plan.steps:
            return ""
        return summary(Reader(tower, projector, language, packer).tasks("dev", config.check_items))

    groups = [
        {"params": list(language.parameters()), "lr": config.update_rate},
        {"params": list(projector.parameters()), "lr": config.projector_rate},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    run(plan, {"language": language, "projector": projector}, {"adamw": optimizer}, step_of, check)
