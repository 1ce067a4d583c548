"""The page as a Hugging Face Space: `grip-vlm page`, reachable from outside."""

import sys

from grip_vlm.cli import main

main(["page", "--host", "0.0.0.0", *sys.argv[1:]])
