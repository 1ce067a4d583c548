"""The VLMs and methods that a page offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from grip_vlm import pruners, vlms
from grip_vlm.options import DType


@dataclass(frozen=True)
class Choice:
    """A VLM and its methods by the texts that name them."""

    vlm: vlms.FrozenVLM
    dtype: DType
    methods: dict[str, pruners.Pruner]


def load(names: Sequence[str], methods: Sequence[str], dtype: DType, seed: int) -> dict[str, Choice]:
    """The VLMs by name, each with those methods that work with it. Each has answered once, so that clocks are fair.

    Raises:
        ValueError: a name is unknown or stands twice, a method works with none of the VLMs, or with one of them no
            method does, or a VLM does not load.
    """
    for texts in (names, methods):
        if len(set(texts)) < len(texts):
            raise ValueError(f"{', '.join(texts)}: one of them stands twice")
    parsed = {name: _parse(methods, name, seed) for name in names}  # before a large VLM is loaded
    refusals = {name: reasons for name, (_, reasons) in parsed.items()}
    _refuse_useless(methods, refusals)
    choices = {}
    for name, (found, _) in parsed.items():
        choices[name] = Choice(vlms.load(name, dtype=dtype), dtype, found)
        refusals[name] |= _try(choices[name])
        if not found:
            raise ValueError(f"no method works with {name!r}: {'; '.join(refusals[name].values())}")
    _refuse_useless(methods, refusals)
    return choices


def _parse(methods: Sequence[str], vlm: str, seed: int) -> tuple[dict[str, pruners.Pruner], dict[str, str]]:
    """The methods that are there for a VLM, and why the others are not."""
    found, reasons = {}, {}
    for method in methods:
        try:
            found[method] = pruners.parse(method, vlm, seed)[1]
        except ValueError as error:
            reasons[method] = str(error)
    return found, reasons


def _try(choice: Choice) -> dict[str, str]:
    """Answer once and select once with every method, which loads its scorer. Methods that fail are taken out.

    Returns:
        Why each of them was.
    """
    image, question = Image.new("RGB", (224, 224), "grey"), "What is this?"
    choice.vlm.answer(image, question, max_new_tokens=2)
    encoded = choice.vlm.encode(choice.vlm.inputs([image], [question]))
    reasons = {}
    for method, pruner in choice.methods.items():
        try:
            pruner.select(choice.vlm, encoded, encoded.state.counts)
        except ValueError as error:
            reasons[method] = str(error)
    for method in reasons:
        del choice.methods[method]
    return reasons


def _refuse_useless(methods: Sequence[str], refusals: Mapping[str, Mapping[str, str]]) -> None:
    """Raise a ValueError if a method works with none of the VLMs.

    Args:
        refusals: why methods do not work, for each VLM.
    """
    for method in methods:
        if all(method in reasons for reasons in refusals.values()):
            raise ValueError("; ".join(dict.fromkeys(reasons[method] for reasons in refusals.values())))
