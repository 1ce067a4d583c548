#!/usr/bin/env bash
# Train a scorer for a VLM of the hub, in two stages: bash recipes/published/scorer.sh VLM DATA.jsonl FOLDER
set -euo pipefail
vlm=${1:?usage: scorer.sh VLM DATA.jsonl FOLDER} data=${2:?usage: scorer.sh VLM DATA.jsonl FOLDER}
out=${3:?usage: scorer.sh VLM DATA.jsonl FOLDER}
common=(--vlm "$vlm" --dtype bfloat16 --precision bf16 --data "$data" --examples 6000 --batch 8)

grip-vlm warmup "${common[@]}" --width 256 --steps 1500 --looked 4800 --attention-share 0.98 --out "$out/warmup"
grip-vlm train "${common[@]}" --init "$out/warmup" --steps 400 --out "$out/grip"
