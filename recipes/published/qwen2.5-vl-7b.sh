#!/usr/bin/env bash
# Evaluate Qwen2.5-VL-7B at 25 and 10 % of its tokens, part SHARD of SHARDS: bash recipes/published/qwen2.5-vl-7b.sh 1 8
# Methods that read a CLIP or SigLIP tower, or layers of Llama, do not support it. pyramiddrop cannot keep as little as
# a quarter.
set -euo pipefail
shard=${1:?usage: qwen2.5-vl-7b.sh SHARD SHARDS} shards=${2:?usage: qwen2.5-vl-7b.sh SHARD SHARDS}
out=runs/published/qwen2.5-vl-7b

pruners=full,random,uniform,divprune,cdpruner,tome,svd_prune,fastv,sparsevlm
pruners+=,warmup=$out/warmup,grip=$out/grip
grip-vlm evaluate --vlm Qwen/Qwen2.5-VL-7B-Instruct --dtype bfloat16 --batch 4 --limit 100000 \
  --benchmarks pope:words,mme,scienceqa,ai2d,ocrbench,textvqa --budgets 0.25,0.1 \
  --pruners "$pruners" --shard "$shard/$shards" --out "$out/rows-$shard.jsonl"
