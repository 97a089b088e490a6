#!/usr/bin/env bash
# Make the demo model again, from nothing: text, tokenizer, training, check.
#   tools/demo/make.sh OUT [SECONDS] [DRAFT_SECONDS] [DOCUMENTS] [DEVICE]
# Two stages: the first on the whole text, then a short one on the mix "finish".
# Written for one GPU; needs the packages in requirements.txt. The text stays in a temporary folder.
set -euo pipefail
out=$1 seconds=${2:-265} draft_seconds=${3:-65} docs=${4:-650000} device=${5:-cuda}
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export PYTHONUNBUFFERED=1
jobs=$(nproc)
cd "$here"
python3 make_text.py --split train --docs "$docs" --jobs "$jobs" --out "$tmp/train.jsonl"
python3 make_text.py --split val --docs 6000 --jobs "$jobs" --out "$tmp/val.jsonl"
python3 train_tokenizer.py --text "$tmp/train.jsonl" --out "$out"
python3 train.py --train "$tmp/train.jsonl" --val "$tmp/val.jsonl" --out "$out" --seconds "$seconds" \
    --draft-seconds "$draft_seconds" --jobs "$jobs"
python3 make_text.py --split train --mix finish --docs 200000 --jobs "$jobs" --out "$tmp/finish.jsonl"
python3 train.py --train "$tmp/finish.jsonl" --val "$tmp/val.jsonl" --out "$out" --start-from "$out" --seconds 56 \
    --draft-seconds 18 --lr 1.5e-3 --draft-lr 2e-3 --long 0 --seed 2 --jobs "$jobs"
python3 check.py --model "$out" --questions 3000 --stories 100 --batch 256 --device "$device" --json "$out/check.json"
