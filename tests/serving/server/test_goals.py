"""Budgets that are goals, `auto`, `mean:5%/4` and a time, are met over HTTP as they are offline."""

import json

import httpx
import pytest
from toolkit import calibrated

from grip_vlm import calibration, checkpoint
from grip_vlm.pruners.clock import CostCurve
from served import ask, serving

pytestmark = pytest.mark.slow


def post(served, scene, budget):
    return httpx.post(
        f"{served.url}/chat/completions", json=ask(scene.question, scene.image, budget=budget), timeout=300
    )


def answered(served, scene, budget):
    """(text, visual tokens asked, visual tokens kept)"""
    body = post(served, scene, budget).json()
    usage = body["usage"]
    return body["choices"][0]["message"]["content"], usage["visual_tokens_asked"], usage["visual_tokens_kept"]


def refused(served, scene, budget):
    answer = post(served, scene, budget)
    assert answer.status_code == 400
    return answer.json()["error"]["message"]


def check(served, offline, scenes, budget):
    """Every answer is the offline one; the tokens that were kept."""
    kept = []
    for scene in scenes:
        expected = offline(scene.image, scene.question, budget)
        assert answered(served, scene, budget) == (expected.text, expected.kept, expected.kept)
        kept.append(expected.kept)
    return kept


def test_auto_gives_each_question_what_it_gets_offline(served, offline, scenes):
    assert len(set(check(served, offline, scenes, "auto"))) > 1


def test_a_mean_is_that_of_an_offline_stream_and_holds_over_its_window(served, offline, scenes):
    kept = check(served, offline, scenes[:8], "mean:5%/4")
    assert len(set(kept)) > 1
    assert [sum(kept[:4]), sum(kept[4:])] == [39, 39]  # of 4 * 196


def test_a_time_keeps_what_it_keeps_offline(served, offline, scenes, home, monkeypatch):
    """By one measurement: offline reads what the server has stored."""
    assert answered(served, scenes[0], "10s")[1:] == (196, 196)
    (file,) = (home / ".cache" / "grip-vlm" / "cost").iterdir()
    curve = CostCurve(**json.loads(file.read_text())["curve"])
    tokens = calibration.read_notes(checkpoint.locate("tiny-llava")).answer_tokens
    least, most = (curve.seconds(196, length, tokens) for length in (curve.lengths[0], curve.lengths[-1]))
    monkeypatch.setenv("HOME", str(home))
    check(served, offline, scenes[:3], f"{500 * (least + most) + 1:.3f}ms")
    assert list(file.parent.iterdir()) == [file]


def test_a_time_below_that_of_one_token_is_refused(served, scenes):
    assert "is below what one visual token takes here" in refused(served, scenes[0], "0.001ms")


def test_a_drop_that_was_never_promised_is_refused_with_the_promises_there_are(served, scenes):
    message = refused(served, scenes[0], "auto:0.001")
    assert message.startswith(
        "the scorer was not calibrated for the budget auto:0.001; its promises are: auto:0.02:0.95"
    )
    assert message.endswith(
        "; give a whole number of tokens (64), a fraction in (0, 1] (0.1; 1.0 keeps all) or a percentage (10%)"
    )


def test_clients_see_no_path_of_the_server_and_its_log_has_it(vlm, vlm_dir, scenes, tmp_path, capfd):
    """A scorer in a folder, without a calibration."""
    scorer = calibrated.scorer(vlm, tmp_path / "scorer")
    (scorer / calibration.NOTES).unlink()
    with serving("--vlm", str(vlm_dir), "--scorer", str(scorer)) as server:
        messages = [refused(server, scenes[0], budget) for budget in ("auto", "mean:5%")]
        (model,) = httpx.get(f"{server.url}/models").json()["data"]
    for message in messages:
        assert message.startswith(
            "the scorer was not calibrated, so it does not know how much is enough; give a whole number"
        )
        assert "/" not in message
    assert f"grip-vlm calibrate --scorer {scorer} --vlm {vlm_dir} " in capfd.readouterr().err
    assert model["id"] == vlm_dir.name
