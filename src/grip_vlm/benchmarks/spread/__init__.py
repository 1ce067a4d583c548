"""The larger world: 576 patches, evidence spread over them, and labels that speak of one patch alone."""

from grip_vlm.benchmarks.spread.asking import TASKS, ask, questions
from grip_vlm.benchmarks.spread.labels import PRESENT, VOCABULARIES
from grip_vlm.benchmarks.spread.lessons import lessons
from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import LAYOUTS, SPLITS, Scene, compose
from grip_vlm.benchmarks.spread.score import score
from grip_vlm.benchmarks.spread.thing import GRID, PATCH, SIZE, Thing

__all__ = ["GRID", "LAYOUTS", "PATCH", "PRESENT", "SIZE", "SPLITS", "TASKS", "VOCABULARIES"]
__all__ += ["Question", "Scene", "Thing", "ask", "compose", "lessons", "questions", "score"]
