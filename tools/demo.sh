#!/usr/bin/env bash
# The demonstration behind `make demo`: real tensors in, frontier table and figures out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=build/demo
mkdir -p "$out"

experiment=experiments/minilm.toml
if ! make --no-print-directory model; then
  echo "demo: the model's package could not be fetched; continuing with synthetic tensors" >&2
  experiment=experiments/llama3_8b.toml
fi
status=0
build/pareto run "$experiment" --quick -o "$out/cases" || status=$?
# 1: a check failed, which the table shows and this script's exit status repeats; more: no results.
((status <= 1)) || exit "$status"
build/pareto merge "$out/cases" -o "$out/demo.h5" --keep newest
build/pareto plot "$out/demo.h5" -o "$out/figures"
echo "Not beaten in both time and error (pareto show $out/demo.h5 lists all):"
build/pareto show --frontier "$out/demo.h5"
echo
echo "Result file: $out/demo.h5"
echo "Figures:"
find "$out/figures" -name '*.p[dn][fg]' | sort | sed 's/^/  /'
exit "$status"
