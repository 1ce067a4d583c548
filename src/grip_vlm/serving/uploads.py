"""Which session looks at which uploaded file: a file that no session looks at any more is deleted."""

import filecmp
import threading
from collections.abc import Sequence
from pathlib import Path


class Uploads:
    """The uploaded files of a page. Two sessions that upload the same image may share one file."""

    def __init__(self, keep: Sequence[Path]) -> None:
        """`keep` are files whose copies are never deleted: the examples."""
        self.keep = keep
        self.held: dict[str, Path] = {}  # session -> its file
        self.lock = threading.Lock()

    def hold(self, session: str, path: Path | None) -> None:
        """The session looks at `path` now, or at no file, and no longer at the file before."""
        with self.lock:
            before = self.held.pop(session, None)
            if path is not None and not any(filecmp.cmp(path, kept, shallow=False) for kept in self.keep):
                self.held[session] = path
            if before is not None and before not in self.held.values():
                before.unlink(missing_ok=True)
