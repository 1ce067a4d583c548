"""Gemma 3: a square grid per image, whose tokens attend to each other in both directions."""

from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.outputs import TensorOutput


class VLM(FrozenVLM):
    output_type = TensorOutput
    closing = 2  # a line break of two, and another before the mark that ends the turn
    bidirectional = True
