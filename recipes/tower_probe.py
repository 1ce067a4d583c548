"""Does a single patch of smol-llava's tower know what stands elsewhere? See `smol_llava/probe.py`.

    python recipes/tower_probe.py

reads the tower from recipes/smol_llava/states and writes results/world/probe.json. It takes about five minutes of two
cores. A leak is sound if it is below the margin.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from grip_vlm.files import write_text
from grip_vlm.training.state import has_state
from smol_llava.build import TowerSize
from smol_llava.loop import Plan
from smol_llava.probe import FAR, MARGIN, probe
from smol_llava.train_tower import train_tower

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Config:
    states: Path = HERE / "smol_llava" / "states"
    """folder with tower.state"""
    tower: TowerSize = field(default_factory=lambda: TowerSize(width=160, layers=4, heads=5))
    steps: int = 2200
    """of the finished training of the tower"""
    scenes: int = 800
    """the probe is trained on; half as many are asked about"""
    out: Path = HERE.parent / "results" / "world" / "probe.json"


def main(config: Config) -> None:
    plan = Plan(config.states, "tower", config.steps)
    if not has_state(plan.state):
        raise SystemExit(f"{plan.state} holds no state; `python recipes/train_smol_llava.py` trains the tower")
    tower = train_tower(plan, config.tower, images=32, seed=0, fast=False)  # finished, so nothing is trained
    start = time.monotonic()
    found = probe(tower, config.scenes, config.scenes // 2)
    facts = {
        probed.name: {
            "from one patch": round(probed.single, 4),
            "from the same patch, far things exchanged": round(probed.spliced, 4),
            "leak": round(probed.leak, 4),
            "within the margin": probed.leak <= MARGIN,
        }
        for probed in found
    }
    measured = {
        "margin": MARGIN,
        "far": f"at least {FAR} patches",
        "scenes": [config.scenes, config.scenes // 2],
        "own colour from one patch": round(found[0].own, 4),
        "facts": facts,
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    write_text(config.out, json.dumps(measured, indent=1) + "\n")
    print(config.out.read_text())


if __name__ == "__main__":
    main(tyro.cli(Config))
