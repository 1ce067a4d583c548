#!/usr/bin/env bash
# Evaluate in lmms-eval the benchmarks that grip-vlm does not have: bash recipes/published/lmms-eval.sh llava|qwen
set -euo pipefail
run() { # folder, VLM, tasks, batch, pruner, budget
  local scorer=
  if [ "$5" = grip ]; then scorer=,scorer=runs/published/$1/grip; fi
  lmms-eval --model grip_vlm --tasks "$3" --batch_size "$4" --log_samples --output_path "runs/published/$1/lmms/$5-$6" \
    --model_args "pretrained=$2,pruner=$5,budget=$6,dtype=bfloat16$scorer"
}
case ${1:-} in
  llava)
    of=(llava-1.5-7b llava-hf/llava-1.5-7b-hf mmbench_en_dev,mmbench_cn_dev 16)
    budgets=(192 128 64) pruners=(random cls_attention visionzip divprune cdpruner dart holov scope grip) ;;
  qwen)
    of=(qwen2.5-vl-7b Qwen/Qwen2.5-VL-7B-Instruct mmbench_en_dev,mmbench_cn_dev,mmstar,chartqa,docvqa_val 4)
    budgets=(0.25 0.1) pruners=(random divprune cdpruner grip) ;;
  *)
    echo "usage: lmms-eval.sh llava|qwen" >&2
    exit 2 ;;
esac
run "${of[@]}" full 1.0
for budget in "${budgets[@]}"; do
  for pruner in "${pruners[@]}"; do
    run "${of[@]}" "$pruner" "$budget"
  done
done
