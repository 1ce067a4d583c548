"""What the methods without a scorer share."""

from pathlib import Path

from grip_vlm.pruners._pruner import BasePruner


class Untrained(BasePruner):
    """Refuses a scorer and remembers the seed."""

    checkpoint = ""

    def __init__(self, *, scorer: str | Path | None = None, seed: int = 0) -> None:
        if scorer is not None:
            name = type(self).__module__.rpartition(".")[2]
            raise ValueError(f"pruner {name!r} has no scorer; leave out {str(scorer)!r}")
        self.seed = seed
