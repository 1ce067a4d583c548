"""Accuracy of the six tasks while training: greedy answers, read off one teacher-forced forward per item."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import TASKS, Question, Scene, ask
from smol_llava.align import Projector, features
from smol_llava.language import Language
from smol_llava.packing import IGNORE, Packer, assemble
from smol_llava.thinning import PATCHES
from smol_llava.tower import pixels

Choice = Callable[[Scene, Question], list[int]]  # the visual tokens that an item is answered from


def everything(scene: Scene, question: Question) -> list[int]:
    return list(range(PATCHES))


def nothing(scene: Scene, question: Question) -> list[int]:
    return []


@dataclass(frozen=True)
class Reader:
    """A VLM in the making."""

    tower: CLIPVisionModel
    projector: Projector
    language: Language
    packer: Packer

    @torch.no_grad()
    def right(self, scene: Scene, question: Question, choice: Choice = everything) -> bool:
        """Whether every token of the answer would be said."""
        visual = self.projector(features(self.tower, pixels(scene.pixels[None])))  # (1, N, D)
        packer = Packer(self.packer.tokenizer, sum(map(len, self.packer.written(question))))
        packed, kept = packer.pack([[question]]), torch.tensor([choice(scene, question)], dtype=torch.long)
        before, texts = self.language.embed(packer.before), self.language.embed(packed.ids)
        made = assemble(before, visual, kept, texts, packed, PATCHES)
        hidden = self.language(made.embeddings, made.positions, made.mask)[:, -packed.ids.shape[1] :]
        is_answer: Tensor = packed.target != IGNORE
        return bool((self.language.logits(hidden[is_answer]).argmax(-1) == packed.target[is_answer]).all())

    def tasks(self, split: str, count: int, choice: Choice = everything) -> dict[str, float]:
        """Accuracy of the first `count` items of each task."""
        with torch.compiler.set_stance("force_eager"):  # every item has a length of its own
            return {
                task: float(np.mean([self.right(*ask(task, split, i), choice) for i in range(count)])) for task in TASKS
            }


def summary(accuracy: dict[str, float]) -> str:
    """The macro mean, and each task."""
    mean = sum(accuracy.values()) / len(accuracy)
    return f"mean {mean:.3f} " + " ".join(f"{task}={value:.2f}" for task, value in accuracy.items())
