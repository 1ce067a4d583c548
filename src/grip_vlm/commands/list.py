"""List the VLMs, pruners or benchmarks there are."""

from dataclasses import dataclass
from typing import Literal

import tyro

from grip_vlm import registry


@dataclass(frozen=True)
class Command:
    """List the VLMs, pruners or benchmarks there are."""

    what: tyro.conf.Positional[Literal["vlms", "pruners", "benchmarks"]]

    def run(self) -> None:
        if self.what == "vlms":
            shipped = [f"{name} (shipped)" for name in registry.shipped_vlms()]
            lines = [*shipped, *(f"{name} (verified family)" for name in registry.names("vlms.families"))]
        elif self.what == "pruners":
            lines = registry.names("pruners.methods")
        else:
            from grip_vlm import benchmarks

            lines = benchmarks.descriptions()
        print("\n".join(lines))
