"""PaliGemma 1 and 2: a square grid, image and question seen in both directions, positions from 1 in `forward`."""

from grip_vlm.vlms._frozen import FrozenVLM
from grip_vlm.vlms._outputs import TensorOutput


class VLM(FrozenVLM):
    output_type = TensorOutput
    forward_offset = 1
