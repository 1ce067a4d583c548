"""One question answered from all visual tokens and from a few, and what a page shows of each answer."""

import shlex
from dataclasses import dataclass

from PIL import Image

from grip_vlm import calibration
from grip_vlm.budget import Budget
from grip_vlm.draw import draw_kept
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import Answer, FrozenVLM

PICTURE = 336  # pixels, the side of a picture of kept tokens


@dataclass(frozen=True)
class Shown:
    """An answer and a picture of the tokens it was given from."""

    answer: Answer
    picture: Image.Image
    """PICTURE x PICTURE pixels; the image itself where `note` says why tokens cannot be drawn."""
    note: str = ""


def count_tokens(vlm: FrozenVLM, image: Image.Image) -> int:
    """How many visual tokens an image has. The processor runs, the model does not."""
    ids = vlm.inputs([image], ["?"])["input_ids"]  # (1, L)
    return int(vlm.placeholders(ids, "image").sum())


def show(vlm: FrozenVLM, image: Image.Image, question: str, pruner: Pruner | None, budget: str) -> Shown:
    """The answer from a budget of visual tokens, and the tokens it kept.

    Args:
        pruner: None keeps every token, whatever the budget is.
        budget: as `Budget.parse` reads it.

    Raises:
        ValueError: what `vlm.answer` raises.
    """
    answer = vlm.answer(image, question, pruner, Budget.parse(budget))
    try:
        area, grid = vlm.visible_area(image, question)
    except ValueError as error:
        return Shown(answer, image.resize((PICTURE, PICTURE)), f"No tokens are drawn: {error}.")
    if pruner is None:
        return Shown(answer, area.resize((PICTURE, PICTURE)))
    return Shown(answer, draw_kept(area, answer.kept_indices, grid, PICTURE))


def offers_auto(pruner: Pruner) -> bool:
    """Whether a pruner can decide by itself how many tokens a question needs: its scorer was calibrated."""
    folder = getattr(pruner, "folder", None)  # only trained methods have one
    return folder is not None and (folder / calibration.NOTES).is_file()


def command_line(vlm: str, dtype: str, method: str, image: str, question: str, budget: str) -> str:
    """The command that gives the pruned answer in a terminal.

    Args:
        method: `name` or `name=DIR`, as `pruners.parse` reads it.
        image: the name of the image's file.
    """
    name, _, scorer = method.partition("=")
    words = ["grip-vlm", "answer", "--vlm", vlm]
    words += ["--dtype", dtype] if dtype != "float32" else []
    words += ["--pruner", name, *(["--scorer", scorer] if scorer else [])]
    for flag, value in (("--image", image), ("--question", question), ("--budget", budget)):
        # With `=`, a value that begins with a dash is not read as a flag.
        words += [f"{flag}={value}"] if value.startswith("-") else [flag, value]
    return shlex.join(words)
