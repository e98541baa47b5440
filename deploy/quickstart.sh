#!/usr/bin/env bash
# From a fresh machine to a trained sparse model of Python and its report: one to three minutes of training on two cores.
# Nothing to type. Run again it does only what is missing; stopped by Ctrl-C it goes on where it was.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
filigree=build/release/filigree
corpus=data/python
run=runs/quickstart

say() { printf '\n== %s\n' "$*"; }

say "1/6 Packages (deploy/install.sh)"
deploy/install.sh

say "2/6 Build ($filigree)"
cmake --preset release
cmake --build --preset release -j "${FILIGREE_JOBS:-$(nproc)}" --target filigree

say "3/6 Corpus ($corpus: the source of Python's standard library)"
if [ -f "$corpus/manifest.json" ]; then
  echo "$corpus is there already; delete it to prepare it anew"
else
  "$filigree" prepare --out "$corpus"
fi

say "4/6 Training (deploy/configs/quickstart.toml; the run folder is $run)"
status=0
"$filigree" train deploy/configs/quickstart.toml || status=$?
if [ "$status" -eq 75 ]; then
  echo "Stopped after a checkpoint. Run deploy/quickstart.sh again to go on."
fi
[ "$status" -eq 0 ] || exit "$status"

say "5/6 Report"
"$filigree" report "$run"

say "6/6 A sample: a method that the model completes"
"$filigree" generate "$run" --prompt "    def __init__(self, " --tokens 200 --temperature 0.8 --top-p 0.95 --seed 1

say "Done"
echo "The report, one file for a browser:  $root/$run/report.html"
echo "The run: settings, log, checkpoints: $root/$run"
