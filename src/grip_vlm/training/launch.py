"""From the settings of a run to its end, in the order in which something can be refused: the cheap before the dear.

lock and place of OUT -> settings of its state -> data -> VLM and first scorer -> is it finished? -> features -> steps
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import PartialState

from grip_vlm import checkpoint
from grip_vlm.files import exclusive, refuse_no_folder, sweep
from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank
from grip_vlm.training.data import load_data
from grip_vlm.training.dev import open_banks
from grip_vlm.training.dry_run import dry_run
from grip_vlm.training.identity import digest, is_finished, of_settings, refuse_other, state_folder
from grip_vlm.training.log import Log
from grip_vlm.training.pixels import limit_pixels, too_many
from grip_vlm.training.run import DevScore, log_file, pick_in_turn, process_device
from grip_vlm.training.settings import RunConfig
from grip_vlm.vlms import FrozenVLM


class Training(NamedTuple):
    """What a command trains."""

    method: str
    load: Callable[[], FrozenVLM]
    start: Callable[[FrozenVLM], Scorer]
    """the scorer that training begins with"""
    train: Callable[[FrozenVLM, Scorer, Bank, DevScore, Any], object]
    """(VLM, scorer, bank, dev score, config) -> trains the scorer in place and saves it in config.out"""


def launch(config: RunConfig, training: Training) -> str:
    """Train, or go on with a run that was stopped.

    Returns:
        A sentence that says how it ended.

    Raises:
        ValueError: OUT is foreign or in use, or the run in it has other settings, data, VLM or start.
        OSError: nothing can be written there.
    """
    process_device()  # first: it makes the processes of a run under `torchrun` know each other
    if config.dry_run:
        vlm = training.load()
        limit_pixels(vlm, config.max_pixels)
        return dry_run(config, vlm, training.start(vlm), training.train)
    with claimed(config):
        known = {"method": training.method, **of_settings(config)}
        refuse_other(config.out, known)
        data = load_data(config)
        known["data"] = data.digest
        refuse_other(config.out, known)
        vlm = training.load()
        limit_pixels(vlm, config.max_pixels)
        scorer = training.start(vlm)
        known |= {"vlm": vlm.fingerprint(), "dtype": str(vlm.model.dtype)}
        known |= {"init": digest(scorer), "scorer": asdict(scorer.config)}
        counters = refuse_other(config.out, known)
        if is_finished(config.out, counters, config.steps):
            return f"this run was finished before: {ending(config)}"
        log = Log(log_file(config.out), quiet=not PartialState().is_main_process)
        bank, dev = open_banks(vlm, config, data, log)
        if warning := too_many(vlm, config.max_pixels, [entry.tokens for entry in bank.entries]):
            log.say(warning)
        training.train(vlm, scorer, bank, dev, config)
        log.note(ending(config))
        return ending(config)


@contextmanager
def claimed(config: RunConfig) -> Iterator[None]:
    """Inside, OUT and its state are this run's alone; processes of one run under `torchrun` share them."""
    if not PartialState().is_main_process:
        yield
        return
    checkpoint.refuse_foreign(config.out)
    if config.features is not None:
        refuse_no_folder(config.features)
    with exclusive(config.out):
        sweep(state_folder(config.out))
        yield


def ending(config: RunConfig) -> str:
    """A sentence about the scorer in config.out."""
    settings = checkpoint.read_notes(config.out)["provenance"]["settings"]
    score = f"dev {settings['dev']:.3f}"
    if settings["best_step"] == 0:
        return f"no step beat the start; the start's weights were kept in {config.out} ({score})"
    return f"scorer written to {config.out} ({score} at step {settings['best_step']} of {config.steps})"


def load_policy(folder: Path, vlm: FrozenVLM) -> Scorer:
    """The scorer in `folder`, to be trained as a policy that picks one token after another."""
    scorer = checkpoint.load(folder, vlm)
    pick_in_turn(scorer)
    return scorer
