"""A folder that runs as a Hugging Face Space: app.py, its card, the package and the list of what it needs."""

import shutil
import tomllib
from pathlib import Path

import tyro

from grip_vlm.files import new_folder
from grip_vlm.registry import PACKAGE

HERE = Path(__file__).resolve().parent


def main(out: Path) -> None:
    """Write the Space.

    Args:
        out: its folder, which must not be there yet; upload it with `hf upload USER/SPACE OUT . --repo-type space`.
    """
    if out.exists():
        raise SystemExit(f"{out} is there already; give another --out")
    needs = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    with new_folder(out) as folder:
        for name in ("app.py", "README.md"):
            shutil.copy(HERE / name, folder)
        # The card's sdk_version brings Gradio; the Space installs the rest from here.
        (folder / "requirements.txt").write_text("\n".join(needs) + "\n", encoding="utf-8")
        shutil.copytree(PACKAGE, folder / "grip_vlm", ignore=shutil.ignore_patterns("__pycache__"))
    print(f"the Space is in {out}; python {out / 'app.py'} runs it here")


if __name__ == "__main__":
    tyro.cli(main)
