"""Training examples after the vision tower, which runs once per image; every step samples from them."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.digests import digest_of_all
from grip_vlm.files import exclusive
from grip_vlm.mdp import Action
from grip_vlm.training.data import Part
from grip_vlm.training.features import Entry, Features
from grip_vlm.training.fit import Fit
from grip_vlm.training.log import Log, duration
from grip_vlm.vlms import Encoded, FrozenVLM

NOTE_EVERY = 10  # groups of examples between two lines in the log file


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
    """Encode every image once and hold all in memory.

    Args:
        label_free: the target is the VLM's own answer from all visual tokens; no label is read.
    """
    fit = Fit()
    groups = [examples[start : start + size] for start in range(0, len(examples), size)]
    entries = [entry for group in groups for entry in encode(vlm, group, label_free, fit)]
    return Bank(vlm, entries, digest_of_all(Part(examples, label_free).digests), fit)


def open_bank(vlm: FrozenVLM, part: Part, folder: Path, digest: str, fit: Fit, log: Log, size: int = 32) -> Bank:
    """The bank of a run, whose encoded examples lie in `folder`; those that are not there yet are encoded.

    Under `torchrun`, every process encodes its share.

    Raises:
        ValueError: another run is encoding into `folder`.
        OSError: the disk is full or cannot be written.
    """
    features, state = Features(folder, vlm, part.label_free), PartialState()
    first = {digest: place for place, digest in reversed(list(enumerate(part.digests))) if digest not in features}
    missing = sorted(first.values())
    if missing:
        with exclusive(features.folder) if state.is_main_process else nullcontext():
            if state.is_main_process:
                features.sweep()
            state.wait_for_everyone()
            groups = [missing[start : start + size] for start in range(0, len(missing), size)]
            _encode_missing(vlm, part, groups[state.process_index :: state.num_processes], features, fit, log)
            state.wait_for_everyone()
        features.refresh()
    log.note(f"{len(missing)} of {len(part.digests)} examples encoded, the others read from {features.folder}")
    return Bank(vlm, [features[digest] for digest in part.digests], digest, fit)


def _encode_missing(
    vlm: FrozenVLM, part: Part, groups: list[list[int]], features: Features, fit: Fit, log: Log
) -> None:
    total, done, began = sum(map(len, groups)), 0, time.monotonic()
    with log.bar("encoding images", total) as bar:
        for number, group in enumerate(groups):
            entries = encode(vlm, [part.examples[place] for place in group], part.label_free, fit)
            features.write([part.digests[place] for place in group], entries)
            done += len(group)
            bar.at(done, "encoding images")
            if number % NOTE_EVERY == 0 or done == total:
                left = (time.monotonic() - began) / done * (total - done)
                log.note(f"encoding images {done}/{total}, about {duration(left)} left")


def encode(vlm: FrozenVLM, examples: Sequence[Example], label_free: bool, fit: Fit) -> list[Entry]:
    """Examples after the vision tower, followed by their answers."""

    def some(rows: Tensor) -> list[Entry]:
        part = [examples[row] for row in rows.tolist()]
        images, questions = [e.image for e in part], [e.question for e in part]
        if label_free:
            encoded = vlm.encode(vlm.inputs(images, questions))
            targets = vlm.respond(encoded, Action(encoded.state.visual_mask), 32).texts
        else:
            targets = [e.answers[0] for e in part]
        inputs = vlm.inputs(images, questions, targets)
        entries = []
        for row, sample in enumerate(vlm.samples(inputs)[0]):
            accepted = (targets[row],) if label_free else part[row].answers
            target_score = benchmarks.score(part[row], targets[row], accepted)
            length = int(inputs["answer_length"][row])
            entries.append(Entry(sample.to("cpu", torch.float16), length, target_score, part[row].benchmark))
        return entries

    return [entry for entries in fit.parts(torch.arange(len(examples)), len(examples), some) for entry in entries]
