"""Training of the scorer: the warm-up (stage 1), GRPO (stage 2), and what both share. This file imports nothing."""
