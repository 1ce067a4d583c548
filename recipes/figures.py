"""Draw the documents' figures and write their tables again, from the rows in results/ (`make figures`)."""

from dataclasses import replace
from pathlib import Path

from demo import cells
from grip_vlm import benchmarks, draw, report, vlms

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


def two_questions() -> None:
    """The README's first picture: one scene, two questions, and the tokens kept for each."""
    item = benchmarks.example("diagram", "test", 0)
    draw.save(item.image, ROOT / "docs" / "scene.png")
    star = replace(item, question=item.question.replace("heart", "star"), answers=("D",))
    vlm = vlms.load("tiny-llava")
    draw.save(draw.sheet([cells(vlm, item), cells(vlm, star)]), ROOT / "docs" / "kept.png")


def main() -> None:
    two_questions()
    report.write([RESULTS / "demo-rows.jsonl"], RESULTS / "frontier.svg", RESULTS / "table.md")
    for name in ("compare", "variants"):
        rows = report.read_rows([RESULTS / name / "rows"])
        report.write_report(report.measure(rows, timed=False), RESULTS / name)
        print(f"{RESULTS / name / 'report.md'}")


if __name__ == "__main__":
    main()
