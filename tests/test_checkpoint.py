"""A scorer comes back bit for bit, for the VLM it belongs to, without a pickle."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from grip_vlm import checkpoint
from grip_vlm.checkpoint import Provenance
from grip_vlm.scorer import Scorer, ScorerConfig


@pytest.fixture
def scorer(vlm):
    torch.manual_seed(0)
    model = Scorer(ScorerConfig(dim=vlm.dim, width=16, blocks=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) / 10)
    return model


@pytest.fixture
def provenance(vlm):
    settings = {"rate": 0.1, "low": 1 / 3}
    return Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 7, 1.5, 0, settings, "c0ffee", {"torch": "2"})


@pytest.fixture
def folder(scorer, provenance, tmp_path):
    checkpoint.save(tmp_path / "scorer", scorer, provenance)
    return tmp_path / "scorer"


def change(folder, **notes):
    """Edit a checkpoint's JSON; None takes a key out."""
    path = folder / "scorer.json"
    changed = {**json.loads(path.read_text()), **notes}
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))


@pytest.mark.slow
def test_weights_come_back_bit_for_bit(folder, scorer, vlm):
    loaded = checkpoint.load(folder, vlm).state_dict()
    assert list(loaded) == list(scorer.state_dict())
    assert all(torch.equal(loaded[name], value) for name, value in scorer.state_dict().items())


def test_the_shape_comes_back(folder, scorer, vlm):
    assert checkpoint.load(folder, vlm).config == scorer.config


def test_provenance_comes_back(folder, provenance):
    assert checkpoint.read_notes(folder)["provenance"] == asdict(provenance)


def test_a_loaded_scorer_is_frozen_and_in_eval_mode(folder, vlm):
    loaded = checkpoint.load(folder, vlm)
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_no_file_of_a_checkpoint_is_a_pickle(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["scorer.json", "scorer.safetensors"]
    assert isinstance(json.loads((folder / "scorer.json").read_text()), dict)
    assert load_file(folder / "scorer.safetensors")


def test_saving_leaves_nothing_but_the_folder(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["scorer"]


def test_saving_again_replaces_the_whole_folder(folder, scorer, provenance):
    (folder / "stale.txt").write_text("from an older version")
    checkpoint.save(folder, scorer, replace(provenance, steps=8))
    assert sorted(path.name for path in folder.iterdir()) == ["scorer.json", "scorer.safetensors"]
    assert checkpoint.read_notes(folder)["provenance"]["steps"] == 8
    assert [path.name for path in folder.parent.iterdir()] == ["scorer"]


def test_folders_above_are_made(scorer, provenance, tmp_path, vlm):
    checkpoint.save(tmp_path / "a" / "b" / "scorer", scorer, provenance)
    assert checkpoint.load(tmp_path / "a" / "b" / "scorer", vlm).config == scorer.config


def test_a_scorer_for_another_width_is_refused_with_both_widths(vlm, provenance, tmp_path):
    checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=64, width=16)), provenance)
    with pytest.raises(ValueError, match=f"reads tokens of width 64, but .* has width {vlm.dim}"):
        checkpoint.load(tmp_path / "scorer", vlm)


def test_a_scorer_for_another_vlm_is_refused_with_both_fingerprints(vlm, scorer, provenance, tmp_path):
    other = replace(provenance, vlm="llava-hf/other", fingerprint="llava-192-0123456789abcdef")
    checkpoint.save(tmp_path / "scorer", scorer, other)
    message = rf"trained for 'llava-hf/other' \(llava-192-0123456789abcdef\), but .* is {vlm.fingerprint()}"
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "scorer", vlm)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_weights_are_refused(folder, vlm, keep):
    path = folder / "scorer.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"the weights in .*scorer do not load"):
        checkpoint.load(folder, vlm)


def test_missing_weights_are_refused(folder, vlm):
    (folder / "scorer.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the weights in .*scorer do not load"):
        checkpoint.load(folder, vlm)


def test_weights_of_another_shape_are_refused(folder, vlm):
    change(folder, scorer=asdict(ScorerConfig(dim=vlm.dim, width=32)))
    with pytest.raises(ValueError, match=r"the weights in .*scorer do not load"):
        checkpoint.load(folder, vlm)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"scorer": {}}', "\x00"])
def test_broken_json_is_refused(folder, vlm, text):
    (folder / "scorer.json").write_text(text)
    with pytest.raises(ValueError, match=r"scorer\.json is not a scorer's description"):
        checkpoint.load(folder, vlm)


def test_another_format_is_refused(folder, vlm):
    change(folder, format=1)
    with pytest.raises(ValueError, match="has scorer format 1; this version reads format 3"):
        checkpoint.load(folder, vlm)


@pytest.mark.parametrize(
    "notes",
    [{"scorer": None}, {"provenance": None}, {"provenance": {}}, {"scorer": {"width": 16}}, {"scorer": []}],
    ids=str,
)
def test_json_without_what_it_should_hold_is_refused(folder, vlm, notes):
    change(folder, **notes)
    with pytest.raises(ValueError, match="scorer"):
        checkpoint.load(folder, vlm)


def test_a_scorer_from_before_scorers_could_be_blind_sees_everything(folder, scorer, vlm):
    old = {key: value for key, value in asdict(scorer.config).items() if key != "blind_to"}
    change(folder, scorer=old)
    assert checkpoint.load(folder, vlm).config.blind_to == "nothing"


def test_json_with_an_unknown_setting_is_refused(folder, vlm):
    change(folder, scorer={"dim": vlm.dim, "width": 16, "depth": 3})
    with pytest.raises(ValueError, match="depth"):
        checkpoint.load(folder, vlm)


def test_a_scorer_is_located_by_its_folder_or_the_one_above(folder):
    assert checkpoint.locate(folder) == folder
    assert checkpoint.locate(str(folder.parent)) == folder


def test_a_scorer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no scorer at '.*nowhere': a scorer is a folder with scorer\.json"):
        checkpoint.locate(tmp_path / "nowhere")


def test_the_digest_tells_weights_apart_and_nothing_else(folder, scorer, provenance, tmp_path):
    checkpoint.save(tmp_path / "again", scorer, replace(provenance, steps=8))
    with torch.no_grad():
        scorer.head[-1].bias.add_(1e-3)
    checkpoint.save(tmp_path / "other", scorer, provenance)
    mine, again, other = (checkpoint.digest(path) for path in (folder, tmp_path / "again", tmp_path / "other"))
    assert mine == again != other


def test_a_folder_of_something_else_is_not_replaced(folder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("the only copy")
    with pytest.raises(ValueError, match="thesis holds something else than a scorer"):
        checkpoint.refuse_foreign(tmp_path / "thesis")


def test_a_scorer_an_empty_folder_and_nothing_may_be_replaced(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (folder, tmp_path / "empty", tmp_path / "nothing"):
        assert checkpoint.refuse_foreign(path) is None
