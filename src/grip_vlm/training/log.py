"""What a run says: on stderr for who watches, and in a file with times for who comes later."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Log:
    """Lines on stderr and in a file; bars on a terminal alone."""

    def __init__(self, path: Path | None = None, quiet: bool = False) -> None:
        """Args: path: the file, None for none; quiet: for processes that say nothing."""
        self.path, self.quiet = None if quiet else path, quiet
        self.console = Console(stderr=True, quiet=quiet)

    def say(self, text: str) -> None:
        """A line on stderr and in the file."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.note(text)

    def note(self, text: str) -> None:
        """A line in the file alone."""
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            except OSError as error:
                raise OSError(f"the log {self.path} cannot be written: {error}") from error

    @contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator["Bar"]:
        """A bar that `Bar.at` moves; without a terminal there is none, and no blank line in its place."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, TimeRemainingColumn(), console=self.console, disable=hidden) as progress:
            yield Bar(progress, progress.add_task(name, total=total, completed=done))


class Bar:
    """The progress of one piece of work."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def at(self, done: int, name: str) -> None:
        """So much is done now."""
        self.progress.update(self.task, completed=done, description=name)


def duration(seconds: float) -> str:
    """Seconds in words: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
