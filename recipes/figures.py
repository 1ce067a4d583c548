"""Draw every figure and table of the documents again from the rows in results/ (`make figures`)."""

from pathlib import Path

from grip_vlm import pareto

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    rows = sorted((ROOT / "results").glob("compare-*.jsonl"))
    pareto.write(rows, ROOT / "results/compare.png", ROOT / "results/compare.md")
    print(f"results/compare.png and results/compare.md from {', '.join(path.name for path in rows)}")


if __name__ == "__main__":
    main()
