"""The costs in the document are those that its script computes."""

from dataclasses import replace
from pathlib import Path

import pytest

import training_cost

ROOT = Path(training_cost.__file__).resolve().parent.parent
SEVEN = next(shape for shape in training_cost.SHAPES if shape.name == "LLaVA-1.5-7B")


def test_the_document_has_the_table_that_the_script_writes():
    table = training_cost.table()
    assert (ROOT / "results" / "training-cost.md").read_text() == table
    assert table in (ROOT / "docs" / "training-cost.md").read_text()


@pytest.mark.parametrize(
    ("name", "billions"),
    [("LLaVA-1.5-7B", 7.06), ("LLaVA-1.5-13B", 13.35), ("Qwen2.5-VL-3B", 3.75), ("Qwen2.5-VL-7B", 8.29)],
)
def test_parameters_are_those_of_the_checkpoints(name, billions):
    (shape,) = [shape for shape in training_cost.SHAPES if shape.name == name]
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_prompt_of_one_token_costs_two_flops_per_parameter():
    assert SEVEN.forward(1) == pytest.approx(2 * SEVEN.read, rel=1e-4)


def test_twice_the_layers_take_twice_the_memory():
    one, two = (training_cost.per_prompt(shape) for shape in (SEVEN, replace(SEVEN, layers=64)))
    assert two == pytest.approx([2 * part for part in one])
