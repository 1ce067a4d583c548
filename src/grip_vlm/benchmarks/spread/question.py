"""A question, its answer, and the patches that it needs, one by one."""

from dataclasses import dataclass

from grip_vlm.benchmarks.spread.thing import Patches


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    The patches it needs come in units. A unit is one fact that stands in one place, such as a character, a counted
    thing or the shaft of an arrow; any one of its patches shows the fact.
    """

    text: str
    answer: str
    """lower case; a list in alphabetical order, with commas"""
    task: str
    """reading, presence, perception, pointing, diagram or choice; `lesson` for what only training asks"""
    kind: str
    """which kind of question of the task"""
    units: tuple[Patches, ...] = ()
    """what the answer is read from; nothing where the answer is that nothing is there"""
    pointers: tuple[Patches, ...] = ()
    """what shows where to read it: the thing or frame that the question names, an arrow's parts, the other bars"""

    @property
    def evidence(self) -> Patches:
        """Every patch of the units and pointers, in raster order."""
        return tuple(sorted({patch for unit in (*self.units, *self.pointers) for patch in unit}))

    @property
    def sufficient(self) -> int:
        """The smallest number of patches that give the answer to one who trusts that they were kept for the question:
        one of each unit."""
        return len(self.units)

    @property
    def certain(self) -> int:
        """The smallest number that gives it to one who does not: one of each unit and pointer."""
        return len(self.units) + len(self.pointers)
