"""A folder of the package as a registry: every file in it is an entry, and the file's name is the entry's name."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).resolve().parent


def names(folder: str) -> list[str]:
    """Entries of a folder such as `pruners.methods`, sorted. No entry is imported."""
    files = PACKAGE.joinpath(*folder.split(".")).glob("*.py")
    return sorted(path.stem for path in files if path.stem != "__init__")


def load(folder: str, name: str, what: str) -> ModuleType:
    """The module of one entry; `what` is how the message calls it.

    Raises:
        ValueError: there is no such entry; the message lists those there are.
    """
    if name not in names(folder):
        raise ValueError(f"unknown {what} {name!r}; choose from {', '.join(names(folder))}")
    return import_module(f"grip_vlm.{folder}.{name}")


def pruner(text: str, vlm: str) -> Any:
    """A pruner by name, for callers that stand before the pruners; see `pruners.parse`.

    Args:
        text: `NAME` or `NAME=DIR`, where DIR is the folder of a scorer.
        vlm: the name of the VLM, which may be shipped with a scorer for `grip`.
    """
    return import_module("grip_vlm.pruners").parse(text, vlm, 0)[1]


def shipped_vlms() -> list[str]:
    """Names of the VLMs that come with the package."""
    return sorted(path.parent.name for path in (PACKAGE / "assets").glob("*/config.json"))
