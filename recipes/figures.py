"""Draw the frontiers and their tables again from the rows in results/ (`make figures`)."""

from pathlib import Path

from grip_vlm import pareto

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    results = ROOT / "results"
    for name, figure, table in (
        ("demo-rows.jsonl", "frontier.png", "table.md"),
        ("compare.jsonl.gz", "compare.png", "compare.md"),
    ):
        rows = results / name
        if rows.is_file():
            pareto.write([rows], results / figure, results / table)
        print(f"{figure}, {table}: {name if rows.is_file() else f'no {name} in results/ yet'}")


if __name__ == "__main__":
    main()
