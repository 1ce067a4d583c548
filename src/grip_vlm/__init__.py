"""grip_vlm: make a frozen vision-language model cheaper by keeping only the visual tokens that the question needs."""

__version__ = "0.1.0"
