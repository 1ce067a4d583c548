#!/usr/bin/env bash
# From a trained tiny-llava to what the package ships: copy the VLM, train its scorer, draw the README's pictures.
#
#   bash recipes/ship.sh runs/tiny_llava
#
# The scorer is `grip` of recipes/compare.py, seed 0: about fifteen minutes of training, and two for the pictures.
# Resumable, as every command in it is.
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
rm -rf "$RUNS/demo" # its rows are those of the VLM and scorer before
python recipes/demo.py --out "$RUNS/demo" --items 40
cp "$RUNS"/demo/{frontier.png,sheet.png,table.md} results/
cp "$RUNS/demo/rows.jsonl" results/demo-rows.jsonl
