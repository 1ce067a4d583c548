"""Scenes the project composes: real handwritten digits, shapes, labels and arrows over photographs and noise."""

from grip_vlm.scenes.compose import Item, Scene, compose
from grip_vlm.scenes.pixels import SPLITS

__all__ = ["SPLITS", "Item", "Scene", "compose"]
