"""Scenes the project composes: real handwritten digits, shapes, labels and arrows over photographs and noise."""

from grip_vlm.scenes.compose import SPLITS, Item, Scene, compose

__all__ = ["SPLITS", "Item", "Scene", "compose"]
