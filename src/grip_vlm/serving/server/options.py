"""What the server is told: model, addresses, limits. `grip-vlm serve` has these fields as its flags."""

import math
from dataclasses import dataclass
from pathlib import Path

from grip_vlm.budget import Budget
from grip_vlm.options import PrunerOptions, VLMOptions


@dataclass(frozen=True, kw_only=True)
class ServerOptions(VLMOptions, PrunerOptions):
    """Flags of the server."""

    budget: str = "0.1"
    """Tokens to keep where a request names no budget: `64`, `0.1` or `10%`."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every address of this machine."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    batch: int = 8
    """Requests answered together, at most."""
    queue: int = 64
    """Requests that may wait beside those being answered. Others are refused with 429."""
    target_ms: float = 0
    """Under load, budgets fall so that answers take no longer than this. 0: budgets never fall."""
    least: str = "1"
    """With --target-ms: the least budget that load may leave a request."""
    api_key_file: Path | None = None
    """File with one API key per line. Keys may also be in the environment variable GRIP_VLM_API_KEYS, separated by
    commas. Without any key, the server asks for none."""
    image_hosts: str = ""
    """Comma-separated hosts from which images may be fetched: `images.example.org`, `10.0.0.5:8080`. By default none.
    A host with a private address must have this address in the list, too."""
    max_images: int = 8
    """Images of one request, at most."""
    max_pixels: int = 20_000_000
    """Pixels of one image, at most."""
    max_body_mb: float = 32
    """Megabytes of one request, and of one fetched image, at most."""
    max_prompt: int = 32_000
    """Characters of all texts of a request, at most."""
    max_tokens: int = 256
    """Tokens of an answer, at most; also where a request names no number."""
    timeout: float = 300
    """Seconds for one batch. A worker that takes longer is replaced."""
    grace: float = 60
    """Seconds for what has begun, when the server is stopped."""

    def check(self) -> None:
        """Raises ValueError if a number or a budget is impossible."""
        Budget.parse(self.budget)
        if Budget.parse(self.least).goal is not None:
            raise ValueError(f"least must be a count, a fraction or a percentage, not the goal {self.least!r}")
        for name in ("batch", "max_images", "max_pixels", "max_prompt", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_body_mb", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {getattr(self, name)}")
        for name in ("queue", "target_ms", "grace"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, not {getattr(self, name)}")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port must be in 0..65535, not {self.port}")

    @property
    def max_bytes(self) -> int:
        """Bytes of one request, and of one fetched image."""
        return int(self.max_body_mb * 1e6)
