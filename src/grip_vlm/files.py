"""A file or folder stands as a whole or not at all, and one process at a time writes it."""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

LONGEST_NAME = 200  # bytes: file systems allow 255, and what is written beside has a longer name
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    with new_file(path) as beside:
        beside.write_bytes(data)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end. A failure leaves `path` as it was.

    Raises:
        OSError: the disk is full or cannot be written, or `path` is a folder, a pipe or a device; the message names
            `path`.
    """
    refuse_no_file(path)
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` at the end. A failure leaves `folder` as it was.

    Raises:
        OSError: the disk is full or cannot be written; the message names `folder`.
    """
    beside = _beside(folder)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        replace_folder(beside, folder)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{folder} cannot be written, and what was there is as it was: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse_no_file(path: Path) -> None:
    """Raise an OSError if no file can take the place of `path`. What is missing above it may still be made.

    Renaming a file onto a pipe or a device would replace it.
    """
    _refuse_unless(path, Path.is_file, "a file")


def refuse_no_folder(path: Path) -> None:
    """Raise an OSError if `path` is no folder and cannot become one."""
    _refuse_unless(path, Path.is_dir, "a folder")


def _refuse_unless(path: Path, is_right: Callable[[Path], bool], what: str) -> None:
    try:
        above = next((folder for folder in path.parents if os.path.lexists(folder)), path)
        if not path.name or "\0" in str(path):
            reason = f"it is not the name of {what}"
        elif os.path.lexists(path) and not is_right(path):
            reason = f"it is not {what}"
        elif not above.is_dir():
            reason = f"{above} is not a folder"
        elif len(os.fsencode(path.name)) > LONGEST_NAME:
            reason = "its name is too long"
        else:
            return
    except (OSError, ValueError) as error:
        reason = str(error)
    raise OSError(f"{str(path)!r} cannot be written: {reason}")


def exchange(one: Path, other: Path) -> bool:
    """Swap two paths of one file system in one step. False if the system cannot; nothing has changed then."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc >= 2.28
    paths = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0


def replace_folder(beside: Path, folder: Path, swap: Callable[[Path, Path], bool] = exchange) -> None:
    """Move a finished folder into place. A reader finds the old folder or the new one.

    Where the system cannot swap two folders in one step, `folder` is missing for a moment, and a process that dies in
    that moment leaves the old one beside, for `recover`.
    """
    if not folder.exists():
        os.replace(beside, folder)
    elif swap(beside, folder):
        shutil.rmtree(beside, ignore_errors=True)
    else:
        old = _old(folder)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(beside, folder)
        shutil.rmtree(old, ignore_errors=True)


def recover(path: Path) -> None:
    """Put back a folder that a kill left beside while it was replaced."""
    if not path.exists() and _old(path).exists():
        os.replace(_old(path), path)


def sweep(path: Path) -> None:
    """Recover `path`, and remove what killed processes left of it. Only for the process that holds `exclusive`."""
    recover(path)
    left = re.compile(rf"\.{re.escape(path.name)}\.(\d+\.tmp|old)")
    for beside in path.parent.iterdir() if path.parent.is_dir() else ():
        if left.fullmatch(beside.name):
            shutil.rmtree(beside) if beside.is_dir() else beside.unlink()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Inside, no other process that asks for it writes to `path`. A lock ends with the process that holds it.

    What killed processes left beside `path` is removed first. Folders above `path` are made.

    Raises:
        ValueError: another process is writing to `path`.
        OSError: nothing can be written beside `path`.
    """
    if not path.name:
        raise OSError(f"{str(path)!r} cannot be written: it is not a name")
    lock = FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"another process is writing to {path}; wait for it, or give another --out") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise OSError(f"{str(path)!r} cannot be written: {error}") from error
    try:
        sweep(path)
        yield
    finally:
        # Removed while it is held: whoever waits with the removed file in hand finds that it is gone, and tries again.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
