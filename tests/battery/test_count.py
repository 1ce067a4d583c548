"""How many bad inputs there are, by the module that generates them."""

from collections import Counter
from importlib import import_module
from pathlib import Path

LEAST = 150


def count():
    """Bad inputs by module."""
    modules = [path.stem for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__)]
    return Counter({name: len(import_module(f"battery.{name}").CASES) for name in modules})


def test_there_are_enough_bad_inputs_of_every_kind(record_property):
    counted = count()
    record_property("bad inputs", counted.total())
    print(f"{counted.total()} bad inputs: {dict(counted)}")  # `pytest -s` shows it
    assert counted.total() >= LEAST
    assert min(counted.values()) >= 20
