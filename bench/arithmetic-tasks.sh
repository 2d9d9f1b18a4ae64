# For bench/arithmetic.sh and bench/star.sh, which set hone and folder: the tasks, and greedy answers to the held-out ones.
mkdir -p "$folder"
[ -e "$folder/train.jsonl" ] || python3 bench/arithmetic.py make "$folder" "${SEED:-1}"

answers() { # NAME MODEL
    "$hone" generate --model "$2" --prompts "$folder/heldout.jsonl" --temperature 0 --max-new-tokens 24 >"$folder/$1.part"
    mv "$folder/$1.part" "$folder/$1.jsonl"
}
