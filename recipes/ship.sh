#!/usr/bin/env bash
# From a trained tiny-llava to what the package ships: copy the VLM, train its scorer, draw the README's pictures.
#
#   bash recipes/ship.sh runs/tiny_llava
#
# The warm-up is that of recipes/compare.py, seed 0. Ten minutes on two cores; resumable, as every command in it is.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ASSETS=src/grip_vlm/assets/tiny-llava
RUNS=${RUNS:-runs/compare}

cp "${1:-runs/tiny_llava}"/checkpoint/* "$ASSETS/"
grip-vlm warmup --steps 400 --looked 2400 --out "$RUNS/stage1-0"
grip-vlm train --steps 450 --init "$RUNS/stage1-0" --out "$RUNS/shipped"
rm -rf "$ASSETS/scorer" && cp -r "$RUNS/shipped" "$ASSETS/scorer"
python recipes/cost.py
python recipes/demo.py --out "$RUNS/demo" --items 40
cp "$RUNS"/demo/{frontier.png,sheet.png,table.md} results/
cp "$RUNS/demo/rows.jsonl" results/demo-rows.jsonl
