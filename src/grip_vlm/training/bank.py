"""Training examples after the vision tower, which runs once per image; every step samples from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example
from grip_vlm.mdp import Action
from grip_vlm.sequence import Sample
from grip_vlm.training.fit import Fit
from grip_vlm.vlms import Encoded, FrozenVLM


@dataclass(frozen=True)
class Entry:
    """One example, ready to be collated."""

    sample: Sample  # prompt, answer and end of sequence; features in half precision
    answer_length: int
    target_score: float
    """the benchmark's own score of the target answer: the value of reproducing it exactly"""
    benchmark: str

    @property
    def tokens(self) -> int:
        """Visual tokens N."""
        return len(self.sample.visual)


class Bank:
    """Entries in memory, collated into batches that `FrozenVLM` understands."""

    def __init__(self, vlm: FrozenVLM, entries: list[Entry], digest: str = "", fit: Fit | None = None) -> None:
        """Args: digest: of the examples, part of a run's identity; fit: how large a forward may be."""
        if not entries:
            raise ValueError("there is nothing to train on")
        self.vlm, self.entries, self.digest, self.fit = vlm, entries, digest, fit or Fit()
        self.benchmarks = sorted({entry.benchmark for entry in entries})

    def __len__(self) -> int:
        return len(self.entries)

    def batch(self, chosen: Sequence[int]) -> "Batch":
        """The chosen entries as one batch, prompts padded on the left."""
        entries = [self.entries[i] for i in chosen]
        device = self.vlm.device
        lengths = torch.tensor([entry.answer_length for entry in entries], device=device)
        encoded = self.vlm.batch([entry.sample.to(device, self.vlm.model.dtype) for entry in entries], lengths)
        target_score = torch.tensor([entry.target_score for entry in entries], device=device)
        return Batch(encoded, lengths, target_score, self.fit)


@dataclass(frozen=True)
class Batch:
    """Entries collated for the frozen VLM."""

    encoded: Encoded
    answer_length: Tensor  # (B,) tokens of the answer, end of sequence included
    target_score: Tensor  # (B,)
    fit: Fit = field(default_factory=Fit)
    """how large a forward may be"""

    def targets(self, input_ids: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last T tokens of left-padded prompts and which of them belong to the answer, (R, T) each.

        T is the length of the longest answer. `rows` (R,) is the sample of each prompt, None for one each.
        """
        length = self.answer_length if rows is None else self.answer_length[rows]
        target_ids = input_ids[:, -int(length.max()) :]
        column = torch.arange(target_ids.shape[1], device=input_ids.device)
        return target_ids, column >= target_ids.shape[1] - length[:, None]


def build_bank(vlm: FrozenVLM, examples: Sequence[Example], label_free: bool = False, size: int = 32) -> Bank:
    """Encode every image once.

    Args:
        label_free: the target is the VLM's own answer from all visual tokens; no label is read.
    """
    entries = []
    bar = Console(stderr=True)
    for start in track(range(0, len(examples), size), description="encoding images", transient=True, console=bar):
        part = examples[start : start + size]
        images, questions = [e.image for e in part], [e.question for e in part]
        if label_free:
            encoded = vlm.encode(vlm.inputs(images, questions))
            targets = vlm.respond(encoded, Action(encoded.state.visual_mask), 32).texts
        else:
            targets = [e.answers[0] for e in part]
        inputs = vlm.inputs(images, questions, targets)
        for row, sample in enumerate(vlm.samples(inputs)[0]):
            example = part[row]
            accepted = (targets[row],) if label_free else example.answers
            target_score = benchmarks.score(example, targets[row], accepted)
            length = int(inputs["answer_length"][row])
            entries.append(Entry(sample.to("cpu", torch.float16), length, target_score, example.benchmark))
    return Bank(vlm, entries)
