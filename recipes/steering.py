"""Selection or steering? Does a scorer keep what the question needs, or tokens that push the VLM to an answer?

    python recipes/steering.py                       one seed, 100 test items per task; --seeds 0 1 2 for three
    python recipes/steering.py --second runs/second_llava/checkpoint   also asks a second VLM (recipes/tiny_llava)

A scorer trained by reward could learn the answer itself. Four tests:

(a) Another VLM answers from the subsets chosen for one VLM. Steering fools only the VLM it was trained on.
(b) Evidence is the patches of the things a question is about. Selection keeps it, and fails without it.
(c) The positions chosen on one image are kept on the next image. If positions encode the answer, it stays right.
(d) `probe.py` measures how much of the answer a linear probe reads from the scorer.

Every batch of answers and every task of the probe is kept, so a stopped run resumes with the same command.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from grip_vlm import benchmarks, pruners, vlms
from grip_vlm.benchmarks.exact import normalise
from grip_vlm.benchmarks.scenes import Item
from grip_vlm.benchmarks.scenes.compose import GRID
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import jobs
from grip_vlm.evaluation.rows import FIXED
from grip_vlm.files import write_text
from grip_vlm.mdp import Action
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import Encoded, FrozenVLM
from probe import TASKS, probe_task
from steering_report import report


@dataclass(frozen=True)
class Steering:
    second: str | None = None
    """Folder of a VLM trained from another seed, with the same grid of visual tokens."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds of the scorers, and seeds of `random`."""
    scorers: Path = Path("runs/compare")
    """Folder with one scorer per trained method and seed, named METHOD-SEED. A name of no pruner runs as `grip`."""
    trained: tuple[str, ...] = ("grip", "warmup", "st_gumbel")
    """Trained methods."""
    untrained: tuple[str, ...] = ("random", "divprune")
    """Untrained methods."""
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    budgets: tuple[str, ...] = ("0.02", "0.05", "0.1")
    """Budgets of the tests (a) to (c)."""
    limit: int = 100
    """Test items per task."""
    batch: int = 50
    """Items per batch."""
    probe_examples: int = 600
    """Training examples of the probe per task."""
    probe_limit: int = 300
    """Test items of the probe per task."""
    probe_budget: str = "0.05"
    """Budget of the probe."""
    runs: Path = Path("runs/steering")
    """Folder for the answers and probes that are kept."""
    out: Path = Path("results")
    """Folder for steering.md and steering.json."""


@dataclass(frozen=True)
class Record:
    """One item, answered from one subset and from the same positions of another image. 1.0 is right."""

    task: str
    item: str
    pruner: str
    seed: int
    budget: str
    kept: int
    tokens: int
    evidence: int
    """Patches of the things the question is about; 0 if the thing asked about is not there."""
    seen: int
    """How many of these patches are kept."""
    touched: bool
    """Whether every thing the question is about has a kept token."""
    said: str
    right: float
    moved: float
    """`right` with the features of the next image at these positions."""
    chosen_there: float
    """`right` with the tokens that the pruner chooses in the next image."""
    second_said: str | None = None
    second_right: float | None = None


def evidence(kept: Sequence[int], about: Sequence[Item]) -> tuple[int, int, bool]:
    """Patches of the things a question is about, how many of them are kept, and whether every thing has a kept one.

    Arrows and frames are not counted. If the question is about nothing in the image, every thing counts as touched.
    """
    mine, patches = set(kept), {patch for item in about for patch in item.patches}
    return len(patches), len(patches & mine), all(mine & set(item.patches) for item in about)


def measure(
    vlm: FrozenVLM,
    second: FrozenVLM | None,
    methods: Sequence[tuple[int, str, Pruner]],
    budgets: Sequence[Budget],
    task: str,
    indices: range,
    split: str = "test",
) -> list[Record]:
    """Every (seed, name, pruner) at every budget on these items of a task.

    Raises:
        ValueError: the VLM's visual tokens are not the patches that scenes are composed on.
    """
    # One item more than asked for, because the last item needs a next image.
    found = [benchmarks.composed_item(task, split, i) for i in range(indices.start, indices.stop + 1)]
    images, asked = [scene.image for scene, _ in found], [question for _, question in found[:-1]]
    texts = [question.text for question in asked]
    own, moved = encode(vlm, images[:-1], texts), encode(vlm, images[1:], texts)
    theirs = None if second is None else encode(second, images[:-1], texts)

    def say(model: FrozenVLM, encoded: Encoded, action: Action) -> list[str]:
        return model.generate(model.pruned(encoded.prompt, action, forward=False), 8)

    def rights(said: Sequence[str]) -> list[float]:
        score = benchmarks.load(task).score
        return [score(text, [question.answer]) for text, question in zip(said, asked, strict=True)]

    records = []
    for seed, name, pruner in methods:
        for _, budget in jobs([name], budgets):
            wanted = Budget(tokens=1) if name in FIXED else Budget.parse(budget)
            k = wanted.each(own.state.counts)
            action, there = pruner.select(vlm, own, k), pruner.select(vlm, moved, k)
            said = say(vlm, own, action)
            right, right_moved = rights(said), rights(say(vlm, moved, action))
            right_there = right_moved if name in FIXED else rights(say(vlm, moved, there))
            heard = None if second is None or theirs is None else say(second, theirs, action)
            right_heard = None if heard is None else rights(heard)
            for row, question in enumerate(asked):
                kept = action.indices(row)
                patches, seen, touched = evidence(kept, question.evidence)
                item = f"{task}/{split}/{indices[row]}"
                records.append(
                    Record(
                        *(task, item, name, seed, budget, len(kept), GRID**2, patches, seen, touched),
                        *(normalise(said[row]), right[row], right_moved[row], right_there[row]),
                        *(() if heard is None or right_heard is None else (normalise(heard[row]), right_heard[row])),
                    )
                )
    return records


def encode(vlm: FrozenVLM, images: Sequence[Any], texts: Sequence[str]) -> Encoded:
    """A batch after the vision tower. Raises ValueError as `measure` does."""
    encoded = vlm.encode(vlm.inputs(images, texts))
    counts = encoded.state.counts
    if not bool((counts == GRID**2).all()):
        raise ValueError(f"{vlm.name} gives {int(counts[0])} visual tokens to a scene of {GRID} x {GRID} patches")
    return encoded


def once(path: Path, make: Callable[[], Any]) -> Any:
    """The content of the JSON file `path`, which is made first if it does not exist."""
    if not path.is_file():
        write_text(path, json.dumps(make()) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def load_methods(steering: Steering) -> list[tuple[int, str, Pruner]]:
    """(seed, name, pruner), including `full` and `blind`. A method that does not depend on the seed comes once."""
    methods = []
    for seed in steering.seeds:
        for name in ("full", "blind", *steering.untrained, *steering.trained):
            scorer = steering.scorers / f"{name}-{seed}" if name in steering.trained else None
            if scorer is not None or name == "random" or seed == steering.seeds[0]:
                pruner = pruners.load(name if name in pruners.names() else "grip", scorer=scorer, seed=seed)
                methods.append((seed, name, pruner))
    return methods


def main(steering: Steering) -> None:
    start = time.perf_counter()
    vlm = vlms.load(steering.vlm)
    second = None if steering.second is None else vlms.load(steering.second)
    if second is None:
        print("(a) is left out: no --second VLM; recipes/tiny_llava/README.md says how to train one")
    methods, budgets = load_methods(steering), [Budget.parse(budget) for budget in steering.budgets]
    settings: dict[str, Any] = {
        **{key: value for key, value in asdict(steering).items() if key not in ("runs", "out", "scorers", "limit")},
        "checkpoints": {f"{name}-{seed}": pruner.checkpoint for seed, name, pruner in methods if pruner.checkpoint},
        "fingerprints": [model.fingerprint() for model in (vlm, second) if model is not None],
    }
    # Each scorer and VLM has a folder of its own, so that no old answer is taken for a new one.
    folder = steering.runs / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    records: list[Record] = []
    for task in benchmarks.composed():
        for first in range(0, steering.limit, steering.batch):
            part = range(first, min(first + steering.batch, steering.limit))

            def answers(task: str = task, part: range = part) -> list[dict[str, Any]]:
                return [asdict(record) for record in measure(vlm, second, methods, budgets, task, part)]

            name = f"{task}-{part.start}-{part.stop}.json"
            records += [Record(**record) for record in once(folder / name, answers)]
        print(f"{task}: {time.perf_counter() - start:.0f} s", flush=True)
    scorers = {f"{name}-{seed}": pruner for seed, name, pruner in methods if name in steering.trained}
    budget, train, test = Budget.parse(steering.probe_budget), steering.probe_examples, steering.probe_limit
    probed = {}
    for task in TASKS:
        probed[task] = once(
            folder / f"probe-{task}.json", lambda task=task: probe_task(vlm, scorers, task, budget, train, test)
        )
        print(f"probe of {task}: {time.perf_counter() - start:.0f} s", flush=True)
    text, numbers = report(records, probed, steering.probe_budget)
    settings |= {"limit": steering.limit, "seconds_of_last_start": round(time.perf_counter() - start, 1)}
    write_text(steering.out / "steering.json", json.dumps({"settings": settings, **numbers}, indent=1) + "\n")
    write_text(steering.out / "steering.md", text)
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Steering))
