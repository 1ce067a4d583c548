"""Estimate the cost of recipes/published from counted FLOPs. Nothing is measured.

python recipes/published/estimate.py        prints the table of README.md
"""

import json
from pathlib import Path

COUNTED = Path(__file__).resolve().parents[2] / "results" / "cost.json"
PEAK = {"A100 80 GB": 312e12, "H100": 989e12}  # FLOP/s in bf16 without sparsity, from the data sheets
SHARE = 0.4  # share of the peak that a prefill reaches
STEP = 0.030  # seconds for one more word of a batch; published: 16 to 30 ms
WORDS = 4  # mean words per answer
TEXT = 60  # tokens of a prompt without the image
LOADING = 0.05  # seconds to read an image and cut it into patches
ITEMS = {"pope": 9000, "mme": 2374, "scienceqa": 2017, "ai2d": 3088, "ocrbench": 1000, "textvqa": 5000, "gqa": 12578}
LLAVA_ITEMS = sum(ITEMS.values()) + ITEMS["textvqa"]  # TextVQA runs twice, with and without the OCR words
QWEN_ITEMS = sum(ITEMS.values()) - ITEMS["gqa"]


def counted() -> tuple[float, float]:
    """FLOPs of LLaVA-1.5-7B's vision tower and of one token in its language model."""
    row = next(row for row in json.loads(COUNTED.read_text()) if "7B" in row["vlm"])
    return row["vision"], row["language"] / (576 + 16)


def answer(tokens: float, per_token: float, speed: float, batch: int) -> float:
    """Seconds of one answer from `tokens` visual tokens, without the vision tower."""
    return (tokens + TEXT) * per_token / speed + WORDS * STEP / batch


def hours(peak: float) -> list[tuple[str, float]]:
    speed = SHARE * peak
    tower, token = counted()
    each = sum(answer(k, token, speed, 16) for k in (192, 128, 64))
    item = LOADING + tower / speed + answer(576, token, speed, 16) + 18 * each + answer(192, token, speed, 16)
    # Assumed for Qwen2.5-VL-7B: 1300 tokens per image, 6.5e9 weights per token, 0.67e9 for each of its four patches.
    image = 1300 * 4 * 2 * 0.67e9 / speed
    kept = sum(answer(share * 1300, 2 * 6.5e9, speed, 4) for share in (0.25, 0.1))
    other = LOADING + image + answer(1300, 2 * 6.5e9, speed, 4) + 10 * kept
    # Training. On all tokens: the attention of 4800 examples and, at three times the cost, 30 steps of 8. At 55 tokens,
    # the mean of the sampled budgets: 400 steps of 8 groups of 8, and 23 dev scores of 600 examples at three budgets.
    full, pruned = (576 + TEXT) * token, (55 + TEXT) * token
    training = 2 * 6600 * tower + (4800 + 3 * 30 * 8) * full + (400 * 64 + 23 * 1800) * pruned
    return [
        ("`scorer.sh`, LLaVA-1.5-7B", training / speed / 3600),
        ("`llava-1.5-7b.sh`, all shards", LLAVA_ITEMS * item / 3600),
        ("`qwen2.5-vl-7b.sh`, all shards", QWEN_ITEMS * other / 3600),
    ]


def table() -> str:
    columns = [hours(peak) for peak in PEAK.values()]
    lines = ["| GPU-hours | " + " | ".join(PEAK) + " |", "|---|" + "--:|" * len(PEAK)]
    lines += [
        f"| {rows[0][0]} | " + " | ".join(f"{hour:.1f}" for _, hour in rows) + " |"
        for rows in zip(*columns, strict=True)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
