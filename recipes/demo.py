"""Answer held-out questions from 100 % down to 2 % of the visual tokens, in a few minutes on two cores.

    make demo        (or: python recipes/demo.py --out demo)

Prints a table of accuracy and time. Draws the frontier, and a sheet of images with the tokens kept for their question.
"""

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from grip_vlm import benchmarks, draw, pruners, report, vlms
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.items import Items, open_items
from grip_vlm.benchmarks.scenes.compose import GRID
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import Row
from grip_vlm.vlms import FrozenVLM

BUDGETS = ("0.25", "0.1", "0.05", "0.02")
PRUNERS = ("full", "grip", "random", "uniform", "cls_attention", "blind")
GREEN, RED, GREY = "#1e8449", "#c0392b", "#555555"


@dataclass(frozen=True)
class Demo:
    out: Path = Path("demo")
    """Folder for the rows, the table and the pictures."""
    vlm: str = "tiny-llava"
    """A shipped VLM with a shipped scorer."""
    items: int = 25
    """Held-out questions per benchmark."""
    split: str = "test"
    """Split that the questions come from."""


def cells(vlm: FrozenVLM, item: Example) -> list[Image.Image]:
    """The image with its question; then, for each budget, the tokens that `grip` keeps and the VLM's answer."""
    grip = pruners.load("grip", scorer=vlm.name)
    full = vlm.answer(item.image, item.question)
    picture = item.image.resize((224, 224), Image.Resampling.LANCZOS)
    question = [(line, "black") for line in wrap(item.question, 54)]
    row = [draw.caption(picture, [*question, (f"all {full.tokens} tokens: {full.text}", GREY)], 400)]
    for budget in BUDGETS[1:]:
        answer = vlm.answer(item.image, item.question, grip, budget)
        colour = GREEN if benchmarks.score(item, answer.text, item.answers) else RED
        drawn = draw.draw_kept(item.image, answer.kept_indices, (GRID, GRID), 224)
        row.append(draw.caption(drawn, [(f"{answer.kept} tokens: {answer.text}", colour), ("", GREY)]))
    return row


def sheet(vlm: FrozenVLM, split: str, index: int = 0) -> Image.Image:
    """`cells` of one item per benchmark."""
    return draw.sheet([cells(vlm, benchmarks.example(name, split, index)) for name in benchmarks.composed()])


def print_table(console: Console, rows: list[Row]) -> None:
    table = Table(title="Held-out questions, six task families", title_justify="left")
    for column in ("pruner", "tokens kept", "share", "accuracy", "ms per question"):
        table.add_column(column, justify="left" if column == "pruner" else "right")
    for point in sorted(report.points(rows), key=lambda p: (-p.kept, -p.accuracy)):
        kept = round(point.kept * rows[0].tokens)
        style = "bold" if point.pruner == "grip" else None
        cells = (f"{kept}", f"{100 * point.kept:.0f} %", f"{100 * point.accuracy:.1f} %", f"{1000 * point.seconds:.1f}")
        table.add_row(point.pruner, *cells, style=style)
    console.print(table)


def auto_line(vlm: FrozenVLM, items: list[Items], out: Path, limit: int) -> str:
    """What `--budget auto` gives the same questions, in one sentence."""
    auto = {"grip": pruners.load("grip", scorer=vlm.name)}
    rows = evaluate(vlm, auto, items, [Budget.parse("auto")], out, limit=limit)
    kept, right = (sum(getattr(row, field) for row in rows) / len(rows) for field in ("kept", "score"))
    spread = f"{min(row.kept for row in rows)} to {max(row.kept for row in rows)}"
    return f"--budget auto: {100 * right:.1f} % right from {kept:.1f} of {rows[0].tokens} tokens in the mean ({spread})"


def main(demo: Demo) -> None:
    console = Console()
    vlm = vlms.load(demo.vlm)
    chosen = {name: pruners.load(name, scorer=demo.vlm if name == "grip" else None) for name in PRUNERS}
    rows_path = demo.out / "rows.jsonl"
    budgets = [Budget.parse(budget) for budget in BUDGETS]
    items = [open_items(name, demo.split) for name in benchmarks.composed()]
    rows = evaluate(vlm, chosen, items, budgets, rows_path, limit=demo.items)
    print_table(console, rows)
    console.print(auto_line(vlm, items, demo.out / "auto.jsonl", demo.items))
    report.write([rows_path], demo.out / "frontier.png", demo.out / "table.md")
    draw.save(sheet(vlm, demo.split), demo.out / "sheet.png")
    console.print(f"frontier  {demo.out / 'frontier.png'}\nsheet     {demo.out / 'sheet.png'}\nrows      {rows_path}")


if __name__ == "__main__":
    main(tyro.cli(Demo))
