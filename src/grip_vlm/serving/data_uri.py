"""Data URIs of images: `data:image/png;base64,...`, and what they hold."""

import base64
import re
from urllib.parse import unquote_to_bytes

HEADER = re.compile(r"data:(?P<type>[^,;]*)(?P<parameters>(?:;[^,;]*)*),", re.IGNORECASE)
LONGEST = 1000  # characters of a header


def is_data_uri(text: str) -> bool:
    """Whether a text is meant as a data URI."""
    return text[:5].lower() == "data:"


def decoded(uri: str) -> bytes:
    """The bytes that a data URI holds.

    Raises:
        ValueError: it is no data URI, of no image, or its data cannot be decoded.
    """
    header = HEADER.match(uri[:LONGEST])
    if header is None:
        raise ValueError("a data URI is data:image/png;base64,...")
    if header["type"] and not header["type"].lower().startswith(("image/", "application/octet-stream")):
        raise ValueError(f"the data URI has the type {header['type'][:50]!r}, not image/...")
    data = uri[header.end() :]
    is_base64 = header["parameters"].lower().endswith(";base64")
    try:
        return base64.b64decode("".join(data.split()), validate=True) if is_base64 else unquote_to_bytes(data)
    except ValueError as error:
        raise ValueError(f"the data URI is not {'base64' if is_base64 else 'text'}: {error}") from error
