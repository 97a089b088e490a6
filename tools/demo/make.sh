#!/usr/bin/env bash
# Make the demo model again, from nothing: text, tokenizer, training, check.
#   tools/demo/make.sh OUT [SECONDS] [DRAFT_SECONDS] [DOCUMENTS] [DEVICE]
# Written for one GPU; needs the packages in requirements.txt. The text stays in a temporary folder.
set -euo pipefail
out=$1 seconds=${2:-340} draft_seconds=${3:-80} docs=${4:-500000} device=${5:-cuda}
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
python3 check.py --model "$out" --questions 3000 --stories 100 --batch 256 --device "$device" --json "$out/check.json"
