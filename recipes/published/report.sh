#!/usr/bin/env bash
# Report on the rows of all shards, for one of the two models: bash recipes/published/report.sh llava-1.5-7b
set -euo pipefail
out=runs/published/${1:?usage: report.sh llava-1.5-7b|qwen2.5-vl-7b}

grip-vlm pareto "$out"/rows-*.jsonl --report "$out/report"
