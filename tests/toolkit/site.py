"""The page in a process of its own, as `grip-vlm page` or as a Space starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START = 240  # seconds


@dataclass
class Site:
    """A running page."""

    url: str
    folder: Path
    process: subprocess.Popen

    def files(self, name):
        """Files of that name that the server has on disk."""
        return [path for path in self.folder.rglob(name) if path.is_file()]

    def end(self):
        """Stop it as a system does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode


def reason_to_skip(*packages):
    """Which of the packages is missing; empty if none is."""
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is missing: make test-page runs this"
    return ""


needs_gradio = pytest.mark.skipif(bool(reason_to_skip("gradio")), reason=reason_to_skip("gradio"))


@contextmanager
def running(folder, command, **environment):
    """A page, from its first answer on.

    Args:
        folder: for its temporary files.
        command: arguments of Python, without the port.
        environment: variables to set; None removes one.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "TMPDIR": str(folder), "GRADIO_HEARTBEAT_INTERVAL": "0.5", **environment}
    process = subprocess.Popen(
        [sys.executable, "-u", *command, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in variables.items() if value is not None},
    )
    timer = threading.Timer(START, process.kill)
    timer.start()
    try:
        printed = ""
        while not (match := re.search(r"the page is at (http://\S+?)/?;", printed)):
            line = process.stdout.readline()
            assert line, f"the page did not start: {printed}"
            printed += line
        timer.cancel()
        site = Site(match[1], folder, process)
        yield site
        if process.poll() is None:
            site.end()
    finally:
        timer.cancel()
        process.kill()
