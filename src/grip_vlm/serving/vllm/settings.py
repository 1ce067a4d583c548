"""What a server is told once, in `--hf-overrides '{"grip": {"scorer": ..., "budget": ...}}'`."""

from dataclasses import dataclass, fields
from typing import Any

from grip_vlm.serving.vllm.request import exact_budget


@dataclass(frozen=True)
class Settings:
    """The settings of a server."""

    scorer: str | None = None
    """As in `grip_vlm.load_pruner`: a folder, or the name of a VLM that is shipped with one. None serves unpruned."""
    budget: str | int | float = "100%"
    """Of requests that name none."""

    def __post_init__(self) -> None:
        if not (self.scorer is None or isinstance(self.scorer, str)):
            raise ValueError(f"grip: scorer is a folder or the name of a shipped VLM, not {self.scorer!r}")
        if exact_budget(self.budget) is not None and self.scorer is None:
            raise ValueError(f"grip: a budget of {self.budget!r} needs a scorer")

    @classmethod
    def of(cls, hf_config: Any) -> "Settings":
        """The settings in a model's configuration.

        Raises:
            ValueError: a setting is unknown or impossible.
        """
        given = getattr(hf_config, "grip", None) or {}
        known = [field.name for field in fields(cls)]
        if not isinstance(given, dict) or set(given) - set(known):
            raise ValueError(f"grip: the settings are an object with {' and '.join(known)}, not {given!r}")
        return cls(**given)
