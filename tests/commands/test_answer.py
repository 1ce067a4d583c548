"""`grip-vlm answer`: a text and what it cost, and one line for whatever is wrong."""

import json
import os
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from grip_vlm import benchmarks
from grip_vlm.cli import main


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "scene.png"
    benchmarks.example("reading", "dev", 0).image.save(path)
    return str(path)


@pytest.fixture
def ask(image, vlm_dir):
    """Arguments of `answer`, with some of them changed."""

    def arguments(**changes):
        flags = {"image": image, "question": "What number is it?", "vlm": str(vlm_dir), "pruner": "random", **changes}
        return ["answer", *(word for name, value in flags.items() for word in (f"--{name}", value))]

    return arguments


def test_a_missing_image_is_named(mistake, ask, tmp_path):
    assert mistake(ask(image=str(tmp_path / "no.png"))).endswith("no.png'")


def test_a_broken_image_is_named(mistake, ask, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    assert "broken.png' is not an image that can be read" in mistake(ask(image=str(tmp_path / "broken.png")))


def test_a_folder_is_not_an_image(mistake, ask, tmp_path):
    assert "is not an image that can be read" in mistake(ask(image=str(tmp_path)))


def test_a_pipe_is_not_waited_for(mistake, ask, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refusal = "pipe.png' is not an image that can be read: it is not a file"
    assert refusal in mistake(ask(image=str(tmp_path / "pipe.png")))


def test_bytes_that_are_not_text_are_no_question(mistake, ask):
    """What a shell passes for $'caf\\xe9?'."""
    assert r"the question 'caf\udce9?' is not text" in mistake(ask(question="caf\udce9?"))


def test_a_question_longer_than_the_context_is_refused(mistake, ask):
    assert "shorten the question" in mistake(ask(question="What? " * 3000))


def test_a_vlm_without_some_weights_is_refused_in_one_line(mistake, ask, vlm_dir, tmp_path):
    folder = shutil.copytree(vlm_dir, tmp_path / "vlm")
    weights = load_file(folder / "model.safetensors")
    some = {name: weight for name, weight in weights.items() if ".layers.1." not in name}
    save_file(some, folder / "model.safetensors", metadata={"format": "pt"})
    assert "its files lack model.language_model.layers.1." in mistake(ask(vlm=str(folder)))


def test_an_unknown_pruner_is_refused_with_the_known_ones(mistake, ask):
    assert "unknown pruner 'magic'; choose from attention_distill, blind, " in mistake(ask(pruner="magic"))


def test_an_untrained_pruner_refuses_a_scorer(mistake, ask, tmp_path):
    assert "pruner 'random' has no scorer" in mistake(ask(scorer=str(tmp_path)))


def test_a_vlm_without_a_scorer_is_named(mistake, ask, vlm_dir):
    assert f"no scorer is shipped for '{vlm_dir}'" in mistake(ask(pruner="grip"))


@pytest.mark.parametrize("name", ["no/such-model", "no-such-model", "no such model", "../nowhere"])
def test_an_unknown_vlm_is_named(mistake, ask, name):
    assert f"no VLM '{name}'" in mistake(ask(vlm=name))


def test_a_vlm_without_weights_is_named(mistake, ask, vlm_dir, tmp_path):
    (tmp_path / "config.json").write_bytes((vlm_dir / "config.json").read_bytes())
    assert str(tmp_path) in mistake(ask(vlm=str(tmp_path)))


def test_a_model_without_an_adapter_is_named(mistake, ask, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "bert has no image_token_id; verified families: aya_vision, " in mistake(ask(vlm=str(tmp_path)))


@pytest.mark.parametrize("budget", ["0", "2.5", "nan", "-3", "inf", "150%", "some", ""])
def test_an_impossible_budget_is_refused_with_the_rule(mistake, ask, budget):
    assert "a budget is a whole number of tokens (64)" in mistake([*ask(), f"--budget={budget}"])


def test_a_picture_that_cannot_be_written_is_named(capsys, ask, image):
    """The VLM is loaded by then, and its progress bar stands before the line."""
    with pytest.raises(SystemExit) as stop:
        main(ask(draw=f"{image}/file"))
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("grip-vlm: ")
    assert image in last


def test_an_answer_is_text_and_what_it_cost(capsys, ask):
    main(ask(budget="10%"))
    assert "(20 of 196 visual tokens, " in capsys.readouterr().out


def test_an_answer_as_json_is_one_object_of_the_contract(capsys, ask):
    main([*ask(budget="9"), "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert list(answer) == ["text", "tokens", "kept", "kept_indices", "seconds", "budget"]
    assert (answer["tokens"], answer["kept"], len(answer["kept_indices"])) == (196, 9, 9)
    assert isinstance(answer["text"], str)
    assert answer["seconds"] > 0


def test_the_same_question_has_the_same_answer_again(capsys, ask):
    answers = []
    for _ in range(2):
        main([*ask(budget="9"), "--json"])
        answers.append({**json.loads(capsys.readouterr().out), "seconds": 0})
    assert answers[0] == answers[1]


def test_the_seed_changes_what_random_keeps(capsys, ask):
    kept = []
    for seed in ("0", "1"):
        main([*ask(budget="9", seed=seed), "--json"])
        kept.append(json.loads(capsys.readouterr().out)["kept_indices"])
    assert kept[0] != kept[1]


def test_a_picture_of_the_kept_tokens_is_written(capsys, ask, tmp_path):
    main(ask(draw=str(tmp_path / "new" / "kept.png")))
    with Image.open(tmp_path / "new" / "kept.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (336, 336))


@pytest.mark.parametrize("budget", ["auto", "auto:0.02", "mean:5%"])
def test_a_method_without_a_scorer_says_that_it_cannot_meet_a_goal(ask, mistake, budget):
    message = mistake(ask(budget=budget, pruner="divprune"))
    assert "divprune has none" in message
    assert "whole number of tokens" in message
