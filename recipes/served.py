"""A server process of `grip-vlm serve` and requests to it, for recipes and tests."""

import base64
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from io import BytesIO

import psutil


def data_uri(image):
    """A Pillow image as the PNG of a data URI."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ask(question, *images, **fields):
    """A chat completion request; images are Pillow's, or addresses."""
    urls = [image if isinstance(image, str) else data_uri(image) for image in images]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*content, {"type": "text", "text": question}]}], **fields}


class Served:
    """A running server."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        self.root = url.removesuffix("/v1")

    def worker(self):
        """The process that owns the VLM."""
        children = psutil.Process(self.process.pid).children()
        (worker,) = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
        return worker

    def stop(self):
        """SIGTERM; (exit code, what was printed since the first line)."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


@contextmanager
def serving(*flags, **environment):
    """A server on a free port of this machine, ended with the block."""
    command = [sys.executable, "-m", "grip_vlm.cli", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        line = process.stdout.readline()
        assert "/v1" in line, line
        yield Served(process, next(word.rstrip(",") for word in line.split() if word.startswith("http")))
    finally:
        process.kill()
        process.communicate()
