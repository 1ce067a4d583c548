"""Rows as `evaluate` writes them, made up."""

import json
from dataclasses import asdict

import numpy as np

from grip_vlm.evaluation.rows import Row


def rows(pruner, scores, budget="0.1", kept=20, seed=0, first=0, **changes):
    """One row per score; `scores` is benchmark -> scores of its items."""
    common = {"vlm": "v", "pruner": pruner, "checkpoint": "", "budget": budget, "tokens": 200, "kept": kept}
    common |= {"prediction": "a", "target": "b", "seconds": 0.01, "seed": seed, "commit": "c", "torch": "t"}
    common |= {"transformers": "h", "device": "cpu", **changes}
    return [
        Row(benchmark=name, item=f"{name}/test/{i}", score=score, **common)
        for name, values in scores.items()
        for i, score in enumerate(values, start=first)
    ]


def write(path, some):
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in some))
    return path


def coins(seed, n=40):
    return np.random.default_rng(seed).integers(0, 2, n).astype(float).tolist()
