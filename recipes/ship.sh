#!/usr/bin/env bash
# From a trained tiny-llava to what the package ships: copy the VLM, train its scorer, draw the README's pictures.
#
#   bash recipes/ship.sh runs/tiny_llava
#
# Minutes on two cores: see results/README.md. Resumable, as every command in it is.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
ASSETS=src/grip_vlm/assets/tiny-llava
RUNS=${RUNS:-runs/shipped}

mkdir -p "$ASSETS"
cp "${1:-runs/tiny_llava}"/checkpoint/* "$ASSETS/"
grip-vlm warmup --examples 2400 --steps 80 --out "$RUNS/stage1"
grip-vlm train --examples 2400 --steps 240 --init "$RUNS/stage1" --out "$RUNS/grip"
rm -rf "$ASSETS/scorer" && cp -r "$RUNS/grip" "$ASSETS/scorer"
python recipes/cost.py
python recipes/demo.py --out "$RUNS/demo" --items 40
cp "$RUNS"/demo/{frontier.png,sheet.png,table.md} results/
cp "$RUNS/demo/rows.jsonl" results/demo-rows.jsonl
