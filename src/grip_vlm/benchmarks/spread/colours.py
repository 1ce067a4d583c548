"""Twelve colours that readers agree on, far apart in RGB, and how one is jittered."""

import numpy as np

RGB = {
    "red": (214, 36, 32),
    "orange": (242, 128, 16),
    "yellow": (246, 228, 44),
    "green": (42, 156, 52),
    "cyan": (70, 222, 226),
    "blue": (36, 66, 216),
    "purple": (134, 44, 178),
    "pink": (250, 158, 200),
    "brown": (122, 70, 28),
    "black": (16, 16, 16),
    "white": (250, 250, 250),
    "grey": (136, 136, 136),
}
COLOURS = tuple(RGB)
VIVID = tuple(
    name for name in COLOURS if name not in ("black", "white", "grey")
)  # frames, arrows and bars show on paper
INKS = ("red", "green", "blue", "purple")  # dark enough to be read on white paper
DARK = (20, 20, 20)
LIGHT = (246, 246, 240)
JITTER = 8  # of 255, either way; the nearest two colours are more than 90 apart
Triple = tuple[int, int, int]


def jittered(name: str, rng: np.random.Generator) -> Triple:
    """The colour as one thing has it, each channel up to JITTER away from the pure one."""
    red, green, blue = np.clip(np.add(RGB[name], rng.integers(-JITTER, JITTER + 1, 3)), 0, 255)
    return int(red), int(green), int(blue)


def edge(fill: Triple) -> Triple:
    """A line around something of this colour that stands out from it: dark around light colours, light around dark."""
    return DARK if sum(fill) > 200 else LIGHT
