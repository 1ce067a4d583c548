#!/usr/bin/env bash
# Evaluate LLaVA-1.5-7B at 192, 128 and 64 of 576 tokens, part SHARD of SHARDS: bash recipes/published/llava-1.5-7b.sh 1 8
set -euo pipefail
shard=${1:?usage: llava-1.5-7b.sh SHARD SHARDS} shards=${2:?usage: llava-1.5-7b.sh SHARD SHARDS}
out=runs/published/llava-1.5-7b
benchmarks=pope:words,mme,scienceqa,ai2d,ocrbench,textvqa:ocr,textvqa,gqa
common=(--vlm llava-hf/llava-1.5-7b-hf --dtype bfloat16 --batch 16 --benchmarks "$benchmarks" --limit 100000)
common+=(--shard "$shard/$shards" --out "$out/rows-$shard.jsonl")

pruners=full,random,uniform,cls_attention,visionzip,vispruner,holov,scope,prumerge
pruners+=,divprune,cdpruner,dart,tome,svd_prune,fastv,sparsevlm,vscan
pruners+=,warmup=$out/warmup,grip=$out/grip
grip-vlm evaluate "${common[@]}" --pruners "$pruners" --budgets 192,128,64
# A quarter of PyramidDrop's layers sees all 576 tokens, so it cannot keep fewer than 144 on average.
grip-vlm evaluate "${common[@]}" --pruners pyramiddrop --budgets 192
