"""Draw the frontiers and write their tables again from the rows in results/ (`make figures`)."""

from pathlib import Path

from grip_vlm import pareto

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    results = ROOT / "results"
    pareto.write([results / "demo-rows.jsonl"], results / "frontier.png", results / "table.md")
    for name in ("compare", "variants"):
        rows = pareto.read_rows([results / f"{name}.jsonl.gz"])
        pareto.report(pareto.measure(rows, timed=False), results / name)
        print(f"{results / name / 'report.md'}")


if __name__ == "__main__":
    main()
