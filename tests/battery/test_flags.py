"""Every flag of every command refuses values that are not of its type or not in its range, by its name."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from toolkit import bad

from grip_vlm import registry

# The arguments of a command that is refused for its VLM alone.
NO_VLM = ["--vlm", "no-vlm"]
FEW = ["--train-examples", "5", "--examples", "5"]
RUN = ["--out", "run", *NO_VLM, "--data", "reading", "--examples", "2", "--dev-examples", "1"]
GOOD = {
    "list": [],
    "batch": ["--data", "questions.jsonl", "--out", "answers", "--pruner", "random", "--workers", "0", *NO_VLM],
    "bench": ["--out", "times.jsonl", "--pruners", "random", "--data", "reading", *NO_VLM],
    "calibrate": [
        "--scorer",
        "tiny-llava",
        "--data",
        "reading",
        "--max-drop",
        "0.5",
        "--rows",
        "sweep.jsonl",
        *FEW,
        *NO_VLM,
    ],
    "page": ["--vlms", "no-vlm", "--pruners", "random"],
    "serve": ["--pruner", "random", "--port", "0", *NO_VLM],
    "answer": ["--image", "scene.png", "--question", "What?", "--pruner", "random", *NO_VLM],
    "evaluate": ["--out", "rows.jsonl", "--pruners", "full", "--benchmarks", "reading", "--limit", "1", *NO_VLM],
    "flops": ["--out", "flops.json", "--pruners", "full", *NO_VLM],
    "warmup": RUN,
    "train": ["--init", "tiny-llava", *RUN],
    "ppo": ["--init", "tiny-llava", *RUN],
}
SMALLEST = {
    "seed": None,
    "workers": 0,
    "port": 0,
    "queue": 0,
    "ray": 0,
    "max_pixels": 0,
    "micro_batch": 0,
}  # of whole numbers; None: any will do


class Flag(NamedTuple):
    """A flag of a command."""

    command: str
    name: str
    type: Any

    @property
    def words(self):
        return f"--{self.name.replace('_', '-')}"


def flags_of(command: str, cls: type) -> list[Flag]:
    found = []
    for field in fields(cls):
        kind = get_type_hints(cls)[field.name]
        if NoneType in get_args(kind):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        found += flags_of(command, kind) if is_dataclass(kind) else [Flag(command, field.name, kind)]
    return found


COMMANDS = {name: registry.load("commands", name, "command").Command for name in registry.names("commands")}
EVERY = {
    (flag.name, str(flag.type)): flag for name, cls in COMMANDS.items() for flag in flags_of(name, cls)
}  # once each


def of_type(kind):
    return [flag for flag in EVERY.values() if flag.type is kind]


def cases(flags, values):
    return [
        pytest.param(flag, value, id=f"{flag.command} {flag.words} {name}")
        for flag in flags
        for name, value in values.items()
    ]


TYPES = [
    *cases(of_type(int), bad.NOT_WHOLE),
    *cases(of_type(float), bad.NOT_A_NUMBER | bad.NOT_FINITE),
    *cases(of_type(bool), {name: value for name, value in bad.NOT_A_WORD.items() if value}),
    *cases([flag for flag in EVERY.values() if get_origin(flag.type) is Literal], bad.NOT_A_WORD),
]
RANGES = [
    *cases([flag for flag in of_type(int) if SMALLEST.get(flag.name, 1) == 1], {"zero": "0"}),
    *cases([flag for flag in of_type(int) if SMALLEST.get(flag.name, 1) is not None], {"negative": "-1"}),
    *cases(of_type(float), {"negative": "-0.5"}),
    *cases([flag for flag in of_type(int) if flag.name == "seed"], {"beyond 64 bits": str(2**64)}),
]
BUDGETS = [
    *cases([flag for flag in EVERY.values() if flag.name == "budgets"], bad.NOT_A_BUDGET),
    *cases([flag for flag in EVERY.values() if flag.name == "budgets"], {"one of two": "0.1,x", "a comma": "0.1,"}),
    *cases([Flag("answer", "budget", str)], bad.NOT_A_BUDGET),
    *cases([Flag("warmup", "budget", str)], {name: value for name, value in bad.NOT_A_BUDGET.items() if value}),
]
SHARDS = {
    "nothing": "",
    "a word": "half",
    "zero": "0/2",
    "beyond": "3/2",
    "of none": "1/0",
    "negative": "-1/2",
    "three": "1/2/3",
    "a fraction": "0.5/2",
    "five thousand digits": f"{bad.DIGITS}/2",
    **bad.STRANGE,
}
PRUNERS = {
    "nothing": "",
    "a comma": "full,",
    "a word": "magic",
    "twice": "full,full",
    "a path": "../base",
    "no scorer": "warmup",
    "an empty scorer": "warmup=",
    "a missing scorer": "grip=no-such-folder",
    "a scorer for none": "random=tiny-llava",
    "a folder of something else": "grip=foreign",
    "a file": "grip=file",
    "a long name": f"grip={'a' * 300}",
    "a null byte in a path": "grip=a\0b",
    "capitals": "Full",
    **bad.STRANGE,
}
BENCHMARKS = {
    "nothing": "",
    "a comma": "reading,",
    "a word": "vqa",
    "twice": "reading,reading",
    "among all": "scenes,reading",
    "a variant of none": "ai2d:loose",
    "capitals": "Reading",
    "a missing file": "no.jsonl",
    "a long name": "a" * 300,
    "a long file": "a" * 300 + ".jsonl",
    "a null byte in a file": "a\0.jsonl",
    "a file below one": "file/a.jsonl",
    **bad.STRANGE,
}
DATA = {"a comma": "reading,", "twice": "reading,reading", "words": "file", "a scorer": "tiny-llava", **bad.NO_FILE}
VLMS = {"a web page": "https://x.org/y", "a home": "~/no-vlm", "words": "file", **bad.NO_FILE}
SCORERS = {"words": "file", "something else": "foreign", **bad.NO_FILE}
NAMES = [
    *cases([Flag("evaluate", "shard", str)], SHARDS),
    *cases([Flag("evaluate", "pruners", str), Flag("flops", "pruners", str)], PRUNERS),
    *cases([Flag("answer", "pruner", str)], {k: v for k, v in PRUNERS.items() if k not in ("twice",)}),
    *cases([Flag("evaluate", "benchmarks", str)], BENCHMARKS),
    *cases([Flag("warmup", "data", str)], DATA),
    *cases([Flag("warmup", "vlm", str), Flag("answer", "vlm", str)], VLMS),
    *cases([Flag("train", "init", str)], SCORERS),
    *cases([Flag("answer", "scorer", str)], {k: v for k, v in SCORERS.items() if v}),
]
INPUTS = [
    *cases([Flag("answer", "image", Path)], {"words": "file", **bad.NO_FILE}),
    *cases([Flag("evaluate", "data_root", Path)], {"a file": "file", "empty": "folder", **bad.NO_PATH}),
]
OPEN = "nothing", "a foreign folder"  # features go into a folder of their own there
OUTPUTS = [
    *cases([Flag("evaluate", "out", Path)], bad.NO_OUTPUT_FILE),
    *cases([Flag("flops", "out", Path)], bad.NO_OUTPUT_FILE),
    *cases([Flag(name, "out", Path) for name in ("warmup", "train", "ppo")], bad.NO_OUTPUT_FOLDER),
    *cases([Flag("warmup", "features", Path)], {k: v for k, v in bad.NO_OUTPUT_FOLDER.items() if k not in OPEN}),
]
CASES = [*TYPES, *RANGES, *BUDGETS, *NAMES, *INPUTS, *OUTPUTS]


def named(flag, value):
    """How a message may name what is wrong: the flag, what it lists, or a part of its value as Python writes it."""
    parts = [repr(part)[1:-1][:60] for part in re.split("[=,:]", value) if part] or ["''", "'.'"]
    return [flag.words, flag.name, flag.name.removesuffix("s"), *parts]


def arguments(flag, value):
    if flag.command == "list":
        return ["list", value]
    return [flag.command, *GOOD[flag.command], f"{flag.words}={value}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [name for name in GOOD if name not in ("list", "batch")]
)  # batch says its plan first
def test_a_good_command_is_refused_for_its_vlm_alone(refused, command):
    if command == "page":
        pytest.importorskip("gradio")
    assert "no VLM 'no-vlm'" in refused([command, *GOOD[command]], "no-vlm")


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "value"), TYPES)
def test_a_value_of_another_type_is_refused(refused, flag, value):
    refused(arguments(flag, value), *named(flag, value))


@pytest.mark.parametrize(("flag", "value"), RANGES)
def test_a_value_out_of_range_is_refused(refused, flag, value):
    refused(arguments(flag, value), *named(flag, value))


@pytest.mark.parametrize(("flag", "value"), BUDGETS)
def test_an_impossible_budget_is_refused_with_the_rule(refused, flag, value):
    assert "a budget is a whole number of tokens (64)" in refused(arguments(flag, value), *named(flag, value))


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "value"), NAMES)
def test_an_unknown_name_is_refused(refused, flag, value):
    refused(arguments(flag, value), *named(flag, value))


@pytest.mark.parametrize(("flag", "value"), INPUTS)
def test_an_input_that_cannot_be_read_is_refused(refused, flag, value):
    extra = ["--benchmarks", "pope"] if flag.name == "data_root" else []
    refused([*arguments(flag, value), *extra], *named(flag, value))


@pytest.mark.parametrize(("flag", "value"), OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_vlm_is_loaded(refused, flag, value):
    assert "no VLM" not in refused(arguments(flag, value), *named(flag, value))
