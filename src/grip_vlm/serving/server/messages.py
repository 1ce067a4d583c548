"""What the front process and the worker process say to each other. All of it can be pickled."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ask:
    """One request, as the worker needs it."""

    id: int
    messages: list[dict[str, Any]]
    """as chat templates read them; images are the bytes of their files"""
    budget: int | float | str
    until: tuple[str, ...]
    max_new_tokens: int
    sampling: dict[str, float] = field(default_factory=dict)
    """temperature and top_p; empty for a greedy answer"""
    seed: int = 0
    """of a sampled answer"""
    stream: bool = False


@dataclass(frozen=True)
class Batch:
    """Requests to answer together."""

    asks: list[Ask]
    share: float
    """what the load leaves of each budget, in [0, 1]"""


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this request any more."""

    id: int


@dataclass(frozen=True)
class Ready:
    """The worker has loaded the VLM."""

    name: str


@dataclass(frozen=True)
class Broken:
    """The worker cannot load, and ends."""

    message: str


@dataclass(frozen=True)
class Piece:
    """All text of an answer that is certain so far."""

    id: int
    text: str


@dataclass(frozen=True)
class Done:
    """A whole answer."""

    id: int
    text: str
    finish_reason: str
    visual_tokens: int
    asked: int
    """visual tokens that the request's budget gives"""
    kept: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Failed:
    """A request that cannot be answered, with the HTTP status that says so."""

    id: int
    status: int
    message: str


@dataclass(frozen=True)
class Finished:
    """A batch is over; what it took."""

    rows: int
    asked: int
    """visual tokens that the budgets of all rows give"""
    kept: int
    seconds: float


Event = Ready | Broken | Piece | Done | Failed | Finished
