"""API keys: read from the environment and a file, compared in constant time."""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

VARIABLE = "GRIP_VLM_API_KEYS"


class Keys:
    """The keys that open the server. Without any, it is open to all."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.digests = [sha256(key.encode()).digest() for key in keys]

    @classmethod
    def read(cls, environment: Mapping[str, str], file: Path | None) -> "Keys":
        """Keys of the environment variable, separated by commas, and of the file, one per line; `#` begins a comment.

        Raises:
            ValueError: the file or the variable is given and holds no key, or a key is not printable ASCII.
            OSError: the file cannot be read.
        """
        keys = []
        if VARIABLE in environment:
            keys += some(environment[VARIABLE].split(","), f"the environment variable {VARIABLE}")
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise ValueError(f"{str(file)!r} is not a text file of API keys") from error
            keys += some((line for line in lines if not line.startswith("#")), f"{str(file)!r}")
        return cls(keys)

    def open(self, authorization: str) -> bool:
        """Whether a header `Authorization: Bearer KEY` opens the server. Takes the same time for any wrong key."""
        scheme, _, key = authorization.partition(" ")
        given = sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]  # all of them, always
        return not matches or (scheme.lower() == "bearer" and any(matches))


def some(texts: Iterable[str], where: str) -> list[str]:
    """The keys among texts, of which there is at least one."""
    keys = [text.strip() for text in texts if text.strip()]
    if not keys:
        raise ValueError(f"{where} holds no API key")
    if any(not (key.isascii() and key.isprintable()) or " " in key for key in keys):
        raise ValueError(f"{where} holds an API key that no HTTP header can carry; use letters, digits and signs")
    return keys
