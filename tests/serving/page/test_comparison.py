"""What a page shows of an answer, and the command that gives the same."""

import shlex

import pytest
from PIL import Image

from grip_vlm import pruners
from grip_vlm.commands.answer import Command
from grip_vlm.serving.comparison import command_line, count_tokens, offers_auto, show


def test_tokens_are_counted_as_the_answer_counts_them(vlm, examples):
    answer = vlm.answer(examples[0].image, examples[0].question)
    assert count_tokens(vlm, examples[0].image) == answer.tokens


def test_without_a_pruner_every_token_is_kept_and_nothing_is_dimmed(vlm, examples):
    shown = show(vlm, examples[0].image, examples[0].question, None, "3")
    assert shown.answer.kept == shown.answer.tokens
    assert shown.picture.tobytes() == examples[0].image.resize(shown.picture.size).tobytes()


def test_the_picture_shows_the_kept_tokens_bright(vlm):
    white = Image.new("RGB", (112, 112), "white")
    shown = show(vlm, white, "What is it?", pruners.load("random"), "5")
    side = shown.picture.width // 14
    bright = {
        row * 14 + column
        for row in range(14)
        for column in range(14)
        if shown.picture.getpixel((column * side + side // 2, row * side + side // 2)) == (255, 255, 255)
    }
    assert bright == set(shown.answer.kept_indices)
    assert len(bright) == 5


def test_a_method_offers_auto_once_its_scorer_is_calibrated(tmp_path):
    import shutil

    from grip_vlm import checkpoint

    shutil.copytree(checkpoint.locate("tiny-llava"), tmp_path / "scorer")
    for name in ("calibration.json", "sufficiency.safetensors"):
        (tmp_path / "scorer" / name).unlink(missing_ok=True)
    assert not offers_auto(pruners.load("random"))
    assert not offers_auto(pruners.load("grip", scorer=tmp_path / "scorer"))
    (tmp_path / "scorer" / "calibration.json").write_text("{}")
    assert offers_auto(pruners.load("grip", scorer=tmp_path / "scorer"))


@pytest.mark.parametrize("image", ["a.png", "-dash.png", "two words.png", "it's $HOME;`ls`.png"])
@pytest.mark.parametrize("question", ["What is it?", "--draw=/etc/x", "a 'b' \"c\" $(d)"])
def test_the_command_line_means_what_the_page_did_whatever_the_names(image, question):
    import tyro

    line = command_line("tiny-llava", "bfloat16", "grip=runs/a b", image, question, "auto")
    words = shlex.split(line)
    assert words[:2] == ["grip-vlm", "answer"]
    command = tyro.cli(Command, args=words[2:])
    assert (str(command.image), command.question, command.budget) == (image, question, "auto")
    assert (command.vlm, command.dtype, command.pruner, command.scorer) == (
        "tiny-llava", "bfloat16", "grip", "runs/a b",
    )  # fmt: skip
