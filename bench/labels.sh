#!/usr/bin/env bash
# Soft labels from several annotators against majority votes, on real judgements: PandaLM's pairs, each with three people's votes
# (Wang et al. 2024, arXiv:2306.05087).  Reward models that differ in nothing else: one is given every vote, the other the
# label that most gave.  Both are asked about the same held-out pairs: do they agree with the majority, and how far are their
# probabilities from the shares of votes?
# Usage: bench/labels.sh FILE [FOLDER]     FILE: PandaLM's testset-v1.json
#   HONE=build/hone, SEEDS="1 2" and THREADS choose the rest.  A run that was stopped goes on.  About fifteen minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: bench/labels.sh FILE [FOLDER]}
folder=${2:-runs/labels}
hone=${HONE:-build/hone}
model=$(tools/get-model.sh)
mkdir -p "$folder"
python3 bench/labels.py make "$file" "$folder"
for seed in ${SEEDS:-1 2}; do
    for name in votes majority; do
        out=$folder/$name-$seed
        [ ! -e "$out/scores.jsonl" ] || continue
        "$hone" reward --model "$model" --train-data "$folder/$name.jsonl" --output-dir "$out" --resume --seed "$seed" --layers-from 20 \
            --max-length 256 --per-device-train-batch-size 8 --num-train-epochs 2 --learning-rate 3e-4 --head-learning-rate 1e-3 \
            --lr-scheduler-type linear --warmup-ratio 0.05 --no-normalize-scores --calibration none --threads "${THREADS:-0}" \
            2>>"$folder/log.txt" || {
            tail -n 3 "$folder/log.txt" >&2
            exit 1
        }
        "$hone" score --model "$model" --reward "$out" --data "$folder/heldout.jsonl" --max-length 256 --quiet \
            --threads "${THREADS:-0}" >"$folder/part"
        mv "$folder/part" "$out/scores.jsonl"
    done
done
python3 bench/labels.py table "$folder" | tee "$folder/table.txt"
