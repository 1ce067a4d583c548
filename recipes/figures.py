"""Draw every figure and table of the documents again from the rows in results/ (`make figures`)."""

from pathlib import Path

from grip_vlm import pareto

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    results = ROOT / "results"
    for pattern, figure, table in (
        ("demo-rows.jsonl", "frontier.png", "table.md"),
        ("compare.jsonl.gz", "compare.png", "compare.md"),
    ):
        rows = sorted(results.glob(pattern))
        if rows:
            pareto.write(rows, results / figure, results / table)
        print(f"{figure}, {table}: {', '.join(path.name for path in rows) or f'no {pattern} in results/ yet'}")


if __name__ == "__main__":
    main()
