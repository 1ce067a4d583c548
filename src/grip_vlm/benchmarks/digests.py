"""Digests of examples, by which changed data are noticed: sixteen hexadecimal digits each."""

import hashlib
from collections.abc import Sequence

from PIL import Image

from grip_vlm.benchmarks import Example


def digest_of(example: Example, label_free: bool = False) -> str:
    """Of one example: its image's pixels, question, benchmark, group and, if labels are read, answers.

    The place of its image on disk does not matter.
    """
    answers = () if label_free else example.answers
    image = example.image
    content = repr((image.mode, image.size, example.question, answers, example.benchmark, example.group))
    return _digest(content, image.tobytes())


def digest_of_text(*texts: str) -> str:
    """Of texts in their order."""
    return _digest(repr(texts))


def digest_of_image(image: Image.Image) -> str:
    """Of an image's pixels."""
    return _digest(repr((image.mode, image.size)), image.tobytes())


def digest_of_all(digests: Sequence[str]) -> str:
    """Sixteen hexadecimal digits of several digests in their order."""
    return hashlib.blake2b(" ".join(digests).encode(), digest_size=8).hexdigest()


def _digest(text: str, content: bytes = b"") -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass") + content, digest_size=8).hexdigest()
