"""A row knows what was asked of what: rows of anything that has changed since are refused and never reported."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from toolkit.pictures import picture

from grip_vlm import checkpoint, pruners, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.checkpoint import Provenance
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import read, read_rows
from grip_vlm.pruners.base import Untrained
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.vlms.weights import digest_of_weights

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path):
    """A user's file of two rows about two pictures."""
    for number in range(2):
        picture(tmp_path / f"{number}.png", "test", number)
    return write(tmp_path / "mine.jsonl")


def write(path, **changes):
    rows = [{"image": f"{number}.png", "question": "Is it red?", "answers": ["yes", "yeah"]} for number in range(2)]
    rows[1] |= changes
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluated(vlm, data, out, **chosen):
    chosen = chosen or {"random": pruners.load("random")}
    return evaluate(vlm, chosen, [open_items(str(data), "all")], [Budget.parse("5")], out)


CHANGES = {
    "question": ({"question": "Is it blue?"}, "another question of .*mine.jsonl, line 2"),
    "answer": ({"answers": ["no"]}, "another answer to .*mine.jsonl, line 2"),
    "second answer": ({"answers": ["yes", "aye"]}, "another answer to .*mine.jsonl, line 2"),
    "image": ({"image": "0.png"}, "another image of .*mine.jsonl, line 2"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_an_item_that_has_changed_is_refused_by_name(vlm, data, tmp_path, change, message):
    out = tmp_path / "rows.jsonl"
    old = evaluated(vlm, data, out)
    before = out.read_bytes()
    assert evaluated(vlm, data, out) == old
    write(data, **change)
    with pytest.raises(ValueError, match=rf"rows\.jsonl has rows of {message} .*; give another --out"):
        evaluated(vlm, data, out)
    assert out.read_bytes() == before


def test_an_item_that_has_changed_is_refused_for_a_further_pruner_too(vlm, data, tmp_path):
    evaluated(vlm, data, tmp_path / "rows.jsonl")
    write(data, question="Is it blue?")
    with pytest.raises(ValueError, match="another question of"):
        evaluated(vlm, data, tmp_path / "rows.jsonl", uniform=pruners.load("uniform"))


def test_an_image_whose_pixels_changed_under_its_name_is_refused(vlm, data, tmp_path):
    evaluated(vlm, data, tmp_path / "rows.jsonl")
    Image.new("RGB", (8, 6), "white").save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="another image of"):
        evaluated(vlm, data, tmp_path / "rows.jsonl")


def test_another_precision_is_refused(vlm_dir, vlm, data, tmp_path):
    evaluated(vlm, data, tmp_path / "rows.jsonl")
    half = vlms.load(str(vlm_dir), dtype="bfloat16", device="cpu")
    with pytest.raises(
        ValueError, match=r"another precision of .* \(float32, now it is bfloat16\); give another --out"
    ):
        evaluated(half, data, tmp_path / "rows.jsonl")


@pytest.fixture
def copied(vlm_dir, tmp_path):
    """The VLM in a folder of its own."""
    return vlms.load(str(shutil.copytree(vlm_dir, tmp_path / "vlm")), device="cpu")


def test_other_weights_in_the_same_folder_are_refused(copied, data, tmp_path):
    evaluated(copied, data, tmp_path / "rows.jsonl")
    with torch.no_grad():
        list(copied.model.parameters())[-1].view(-1)[-1].add_(1e-3)
    copied.model.save_pretrained(tmp_path / "vlm")
    other = vlms.load(copied.name, device="cpu")
    with pytest.raises(ValueError, match="another set of weights or processor of"):
        evaluated(other, data, tmp_path / "rows.jsonl")


def test_another_processor_in_the_same_folder_is_refused(copied, data, tmp_path):
    evaluated(copied, data, tmp_path / "rows.jsonl")
    copied.processor.chat_template = copied.processor.chat_template.replace("ASSISTANT", "BOT") + " "
    with pytest.raises(ValueError, match="another set of weights or processor of"):
        evaluated(copied, data, tmp_path / "rows.jsonl")


def test_another_scorer_in_the_same_folder_is_refused(vlm, data, tmp_path):
    def trained(seed):
        torch.manual_seed(seed)
        provenance = Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 1, 1.0, seed)
        checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=vlm.dim, width=16)), provenance)
        return pruners.load("grip", scorer=tmp_path / "scorer")

    evaluated(vlm, data, tmp_path / "rows.jsonl", grip=trained(0))
    evaluated(vlm, data, tmp_path / "rows.jsonl", grip=trained(0))
    with pytest.raises(ValueError, match=r"rows\.jsonl has rows of another scorer of grip in .*scorer"):
        evaluated(vlm, data, tmp_path / "rows.jsonl", grip=trained(1))


def test_rows_of_an_older_version_are_reported_and_not_added_to(vlm, data, tmp_path):
    out = tmp_path / "rows.jsonl"
    rows = evaluated(vlm, data, out)
    old = [
        replace(row, question_digest="", image_digest="", answers_digest="", precision="", weights="") for row in rows
    ]
    out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in old))
    assert read_rows([out]) == old
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"rows\.jsonl has rows of an older version.*give another --out"):
        evaluated(vlm, data, out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"precision": "bfloat16"}, {"weights": "0"}, {"question_digest": "0"}, {"image_digest": "0"}], ids=str
)
def test_rows_that_cannot_share_a_table_are_refused_by_pareto(vlm, data, tmp_path, change):
    rows = evaluated(vlm, data, tmp_path / "rows.jsonl")
    other = [replace(row, pruner="uniform", **change) for row in rows]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in other))
    with pytest.raises(ValueError, match=r"other\.jsonl brings a second .*such rows cannot share a table"):
        read_rows([tmp_path / "rows.jsonl", tmp_path / "other.jsonl"])


def test_the_digest_of_weights_reads_every_number_in_its_place(vlm):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
    seen = {digest_of_weights(model), digest_of_weights(model)}
    assert len(seen) == 1
    with torch.no_grad():
        model[0].weight[3, 4] += 1e-3
        seen.add(digest_of_weights(model))
        model[0].weight.copy_(model[0].weight.flip(0))
        seen.add(digest_of_weights(model))
        model[1].running_mean[0] += 1
        seen.add(digest_of_weights(model))
    seen.add(digest_of_weights(model.bfloat16()))
    assert len(seen) == 5


def test_what_is_refused_or_never_answered_leaves_nothing(vlm, data, tmp_path):
    out = tmp_path / "new" / "folder" / "rows.jsonl"
    write(data, answers=["yes"], image="gone.png")
    with pytest.raises(ValueError, match="no image"):
        evaluated(vlm, data, out)
    (tmp_path / "1.png").write_bytes(b"not an image")
    write(data)
    with pytest.raises(ValueError, match="is not an image"):
        evaluated(vlm, data, out)
    assert not (tmp_path / "new").exists()
    assert read(out) == ([], 0)


def test_an_evaluation_into_a_file_that_another_one_writes_is_refused(vlm, data, tmp_path):
    class Second(Untrained):
        """Starts a second evaluation while the first one answers."""

        def select(self, *arguments):
            with pytest.raises(ValueError, match=r"another process is writing to .*rows\.jsonl"):
                evaluated(vlm, data, tmp_path / "rows.jsonl")
            return pruners.load("random").select(*arguments)

    evaluated(vlm, data, tmp_path / "rows.jsonl", random=Second())
    assert len(read(tmp_path / "rows.jsonl")[0]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "mine.jsonl", "rows.jsonl"]


def test_an_interrupted_evaluation_keeps_the_rows_it_has_and_leaves_no_empty_file(vlm, data, tmp_path):
    class Interrupted(Untrained):
        def select(self, *arguments):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(vlm, data, tmp_path / "rows.jsonl", random=Interrupted())
    assert not (tmp_path / "rows.jsonl").exists()
    with pytest.raises(KeyboardInterrupt):
        evaluated(vlm, data, tmp_path / "rows.jsonl", full=pruners.load("full"), random=Interrupted())
    assert [row.pruner for row in read(tmp_path / "rows.jsonl")[0]] == ["full", "full"]
