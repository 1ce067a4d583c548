#!/usr/bin/env bash
# Make what the package ships from a trained tiny-llava: copy the VLM, train its scorer, draw the demo's pictures.
#
#   bash recipes/ship.sh runs/tiny_llava
#
# The scorer is `grip` of recipes/compare.py, seed 0. Training takes about fifteen minutes, the pictures two.
# A stopped run resumes with the same command.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ASSETS=src/grip_vlm/assets/tiny-llava
RUNS=${RUNS:-runs/compare}

cp "${1:-runs/tiny_llava}"/checkpoint/* "$ASSETS/"
grip-vlm warmup --steps 750 --looked 4800 --attention-share 0.98 --out "$RUNS/stage1-0"
grip-vlm train --steps 200 --init "$RUNS/stage1-0" --out "$RUNS/grip-0"
rm -rf "$ASSETS/scorer" && cp -r "$RUNS/grip-0" "$ASSETS/scorer"
python recipes/cost.py
rm -rf "$RUNS/demo" # its rows belong to the previous VLM and scorer
python recipes/demo.py --out "$RUNS/demo" --items 40
cp "$RUNS/demo/rows.jsonl" results/demo-rows.jsonl
