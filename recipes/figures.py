"""Draw the frontiers and write their tables again from the rows in results/ (`make figures`)."""

from pathlib import Path

from grip_vlm import report

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    results = ROOT / "results"
    report.write([results / "demo-rows.jsonl"], results / "frontier.png", results / "table.md")
    for name in ("compare", "variants"):
        rows = report.read_rows([results / f"{name}.jsonl.gz"])
        report.report(report.measure(rows, timed=False), results / name)
        print(f"{results / name / 'report.md'}")


if __name__ == "__main__":
    main()
