"""Options that several commands share."""

import math
from dataclasses import dataclass
from typing import Literal

DType = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True, kw_only=True)
class VLMOptions:
    """Which VLM, and how it is loaded."""

    vlm: str = "tiny-llava"
    """A shipped VLM, a checkpoint folder or a hub id."""
    dtype: DType = "float32"
    """Precision of the VLM's weights; `auto` takes the checkpoint's own."""


@dataclass(frozen=True, kw_only=True)
class PrunerOptions:
    """Which method chooses the tokens."""

    pruner: str = "grip"
    """A method; `grip-vlm list pruners` names all of them. `full` does not prune."""
    scorer: str = ""
    """Folder of a trained scorer; by default the one shipped with the VLM."""

    @property
    def method(self) -> str:
        """`NAME` or `NAME=DIR`, as `pruners.parse` reads it."""
        return f"{self.pruner}={self.scorer}" if self.scorer else self.pruner


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Where the workers of a Ray pool run. A worker loads the VLM once."""

    address: str = ""
    """Ray cluster that this machine is part of: `auto` or `head:6379`; empty runs the workers here alone. All its
    machines need the package and see the files under the same paths."""
    cpus: int = 1
    """Cores of each worker."""
    gpus: float = 0
    """GPUs of each worker; `0.5` puts two workers on one."""

    def check(self, workers: int) -> None:
        """Raises a ValueError if there can be no such pool; 0 workers stand for this process."""
        if workers < 0 or self.cpus < 1 or not 0 <= self.gpus < math.inf:
            raise ValueError(
                f"workers (--workers, --ray), cpus and gpus are at least 0, 1 and 0, not {workers}, "
                f"{self.cpus} and {self.gpus}"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is a whole number or a share of one GPU, not {self.gpus}")
        if self.address.startswith("ray://"):
            raise ValueError("ray:// is not supported; run this on a machine of the cluster, with --address auto")
        if self.address and not workers:
            raise ValueError("with an address, say how many workers there are to be")
