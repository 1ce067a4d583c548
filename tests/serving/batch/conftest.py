"""A file of questions about images of a random tiny-llava, good and bad rows among them."""

import base64
import json

import pytest

from grip_vlm.serving.batch.run import Job

BAD = (3, 8, 9, 10, 11)  # numbers of the rows that must come back with an error


@pytest.fixture
def questions(tmp_path, examples):
    """A JSONL file of 12 rows: paths and a data URI, budgets of their own, and the `BAD` rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for i, example in enumerate(examples):
        example.image.save(folder / f"{i}.png")
        rows.append(
            {"image": f"{i}.png", "question": example.question, "id": f"q{i}", "answers": list(example.answers)}
        )
    content = base64.b64encode((folder / "1.png").read_bytes()).decode()
    rows[1]["image"] = f"data:image/png;base64,{content}"
    rows[2]["budget"], rows[4]["budget"] = "2%", 7
    rows[3]["budget"] = "2.5"
    rows[8]["image"] = "missing.png"
    rows[9]["image"] = "https://example.org/cat.png"
    del rows[10]["question"]
    lines = [json.dumps(row) for row in rows]
    lines[11] = '{"image": "11.png", "question": '
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "questions.jsonl"


@pytest.fixture
def job(vlm_dir):
    """Random tokens of a random VLM, three rows in a part, two in a batch."""
    return Job(
        vlm=str(vlm_dir),
        dtype="float32",
        pruner="random",
        seed=0,
        budget="0.1",
        batch=2,
        max_new_tokens=4,
        rows_per_part=3,
    )
