#!/usr/bin/env bash
# Ours and every trained rival, from nothing, at equal training compute; then the locked test split.
#
#   bash recipes/compare.sh            three seeds          bash recipes/compare.sh 0     one seed
#
# Hardware and minutes: see results/README.md. Every command resumes where it was stopped; what is finished is skipped.
# Equal compute: STAGE1 is the warm-up that GRIP and grip_like start from; the other columns are steps that take the
# same seconds as STAGE1 + GRPO together (measured on two cores; seconds of every run are in its scorer.json).
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
RUNS=${RUNS:-runs/compare}
STAGE1=140 GRPO=400 LIKE=430 WARMUP=520 SOFT=420 GUMBEL=420

run() { # run OUT command...: skip what is finished
  local out=$1; shift
  [ -f "$out/scorer.json" ] || "$@" --out "$out"
}

for seed in "${@:-0 1 2}"; do for s in $seed; do
  run "$RUNS/stage1-$s" grip-vlm warmup --steps $STAGE1 --seed "$s"
  run "$RUNS/grip-$s" grip-vlm train --init "$RUNS/stage1-$s" --steps $GRPO --seed "$s"
  run "$RUNS/grip_like-$s" grip-vlm train --init "$RUNS/stage1-$s" --steps $LIKE --seed "$s" --policy plackett_luce --reward exact
  run "$RUNS/warmup-$s" grip-vlm warmup --steps $WARMUP --seed "$s"
  run "$RUNS/soft_topk-$s" grip-vlm warmup --steps $SOFT --attention-share 0 --seed "$s"
  run "$RUNS/st_gumbel-$s" grip-vlm warmup --steps $GUMBEL --attention-share 0 --relaxation st_gumbel --seed "$s"
  trained=$(for name in grip grip_like warmup soft_topk st_gumbel; do printf ',%s=%s' "$name" "$RUNS/$name-$s"; done)
  grip-vlm evaluate --pruners "full,blind,random,uniform,downsample,cls_attention$trained" --limit 200 --seed "$s" --out "results/compare-$s.jsonl"
done; done
grip-vlm pareto results/compare-*.jsonl --out results/compare.png --table results/compare.md
