"""Run the contract tests of every VLM family, and write the table of results to results/families.md and README.md.

python recipes/families.py
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from grip_vlm.files import write_text

ROOT = Path(__file__).resolve().parent.parent
# Column -> parts of test names. A family passes a column if all tests with such a name pass.
COLUMNS = {
    "keep-all bit-identical": ("keeping_all",),
    "really shorter": ("decoder_layers_and_cache",),
    "removed = masked": ("removed_equals_masked",),
    "generate = recompute": ("recomputing_every_step",),
    "batch = single": ("ragged_batch",),
    "text rows": ("row_of_text_alone",),
    "turns": ("second_turn",),
    "training": ("gates_open", "reward_of_a_group", "answer_behind_the_prompt"),
    "video": ("of_a_video", "in_a_video", "pruned_video"),
}


def outcomes(xml: Path) -> dict[str, dict[str, list[str]]]:
    """Family -> test -> `passed`, `skipped` or `failed` for each case of the test."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    families = {path.stem for path in (ROOT / "tests/tiny").glob("[!_]*.py")}
    for case in ElementTree.parse(xml).iter("testcase"):
        name = case.attrib["name"]
        parameters = re.search(r"\[(.*)\]", name)
        family = next((f for f in parameters[1].split("-") if f in families), None) if parameters else None
        if family is not None:
            tags = {child.tag for child in case}
            state = "skipped" if "skipped" in tags else "failed" if tags & {"failure", "error"} else "passed"
            found[family][name].append(state)
    return found


def cell(tests: dict[str, list[str]], parts: tuple[str, ...]) -> str:
    """`yes`, `NO`, `yes*` if some cases are skipped, or `-` if no test applies."""
    states = [state for name, all_ in tests.items() if any(part in name for part in parts) for state in all_]
    if not states or set(states) == {"skipped"}:
        return "-"
    if "failed" in states:
        return "NO"
    return "yes*" if "skipped" in states else "yes"


def main() -> None:
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "contract.xml"
        command = [sys.executable, "-m", "pytest", "tests/vlms/test_families.py", f"--junitxml={xml}"]
        subprocess.run(command, cwd=ROOT, check=False)
        found = outcomes(xml)
    lines = ["| family | " + " | ".join(COLUMNS) + " |", "|---|" + ":-:|" * len(COLUMNS)]
    lines += [
        f"| {family} | " + " | ".join(cell(found[family], parts) for parts in COLUMNS.values()) + " |"
        for family in sorted(found)
    ]
    note = (
        f"\ntransformers {transformers.__version__}, tiny random instances of the true classes on a CPU, fp32. "
        "`-`: does not apply; `yes*`: with an exception that docs/exactness.md names.\n"
    )
    table = "\n".join(lines) + "\n" + note
    write_text(ROOT / "results" / "families.md", table)
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split("<!-- families -->\n")
    after = rest.split("<!-- /families -->")[1]
    write_text(ROOT / "README.md", f"{before}<!-- families -->\n{table}<!-- /families -->{after}")
    print(table)


if __name__ == "__main__":
    main()
