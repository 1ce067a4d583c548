"""Composed scenes: real handwritten digits, shapes, labels and arrows over photographs and noise."""

from grip_vlm.benchmarks.scenes.compose import Item, Scene, compose
from grip_vlm.benchmarks.scenes.pixels import SPLITS

__all__ = ["SPLITS", "Item", "Scene", "compose"]
