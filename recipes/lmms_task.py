"""Write the project's scenes as a local lmms-eval task: `lmms-eval --include_path FOLDER --tasks scenes`."""

import argparse
import textwrap
from pathlib import Path

import datasets

from grip_vlm.benchmarks.data import load_examples


def write_task(folder: Path, items: int) -> None:
    """Write scenes.yaml and the folder scenes, with `items` questions of the six benchmarks in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"item": one.item, "image": one.image, "question": one.question, "answer": one.answers[0]}
        for one in load_examples("scenes", "test", items)
    ]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"test": table}).save_to_disk(folder / "scenes")
    (folder / "scenes.yaml").write_text(
        textwrap.dedent(f"""\
            task: scenes
            dataset_path: {(folder / "scenes").resolve()}
            dataset_kwargs:
              load_from_disk: true
            test_split: test
            output_type: generate_until
            doc_to_visual: image
            doc_to_text: "{{{{question}}}}"
            doc_to_target: "{{{{answer}}}}"
            generation_kwargs:
              max_new_tokens: 16
              temperature: 0
            metric_list:
              - metric: exact_match
                aggregation: mean
                higher_is_better: true
                ignore_case: true
            """)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/lmms"))
    parser.add_argument("--items", type=int, default=20)
    arguments = parser.parse_args()
    write_task(arguments.out, arguments.items)
