"""Rows -> accuracy over cost: a figure and a table, or a folder with everything."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Command:
    """Rows -> accuracy over cost: a figure and a table, or a folder with everything."""

    rows: tyro.conf.Positional[tuple[Path, ...]]
    """Files written by `evaluate`."""
    out: Path | None = None
    """Figure (.png, .svg, .pdf)."""
    table: Path | None = None
    """Markdown table."""
    report: Path | None = None
    """Folder for sentences, tables (Markdown, LaTeX), figures (PNG, SVG) and an interactive page."""
    ours: str = "grip"
    """The pruner that all others are compared with."""
    flops: Path | None = None
    """FLOPs counted by `grip-vlm flops`, a third cost in the report."""

    def run(self) -> None:
        from grip_vlm import report

        print(report.write(self.rows, self.out, self.table, self.report, self.ours, self.flops))
