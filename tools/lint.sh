#!/usr/bin/env bash
# `make lint`: every check runs, whatever the earlier ones found; the exit status says if any did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
status=0
begin() { printf 'lint: %s\n' "$*"; }
failed() {
  printf 'lint: %s FAILED\n' "$*" >&2
  status=1
}

# Everything that is or could be committed.
list_files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do
  [[ -f $f ]] && printf '%s\n' "$f"
done; }

begin "clang-format"
mapfile -t sources < <(list_files '*.cc' '*.h' '*.cu' '*.cuh')
((${#sources[@]} == 0)) || clang-format --dry-run -Werror "${sources[@]}" || failed "clang-format"

begin "shellcheck"
mapfile -t scripts < <(list_files '*.sh' .ci/run)
if command -v shellcheck >/dev/null; then
  shellcheck "${scripts[@]}" || failed "shellcheck"
else
  echo "lint: shellcheck is not installed, skipped"
fi

begin "ruff"
build/venv/bin/ruff check --quiet --cache-dir build/lint/ruff . || failed "ruff"

begin "words"
# Unfinished work and paths of one machine do not belong in the repository. The pattern is written
# so that it does not find itself.
unfinished='\b(TO[D]O|FIX[M]E)\b|(^|[^A-Za-z0-9_.~-])/(wor[k]|hom[e])/[A-Za-z]'
if list_files . | grep -v '^LICENSE$' | tr '\n' '\0' | xargs -0 grep -nIE "$unfinished"; then
  failed "words"
fi

begin "target regions"
build/venv/bin/python tools/target_regions.py || failed "target regions"

begin "headers alone, clang-tidy"
# Its own tree without CUDA: clang-tidy reads C++ as the compiler sees it, nvcc is not needed.
tree=build/lint/tree
mkdir -p build/lint
configure() {
  cmake -S . -B "$tree" -G Ninja -DPARETO_CUDA=OFF -DCMAKE_BUILD_TYPE=Release &&
    cmake --build "$tree" --target pareto_build_info
}
if configure >build/lint/configure.log 2>&1; then
  build/venv/bin/python tools/headers_alone.py --tree "$tree" --cache build/lint/headers ||
    failed "headers alone"
  build/venv/bin/python tools/tidy.py --tree "$tree" --cache build/lint/tidy || failed "clang-tidy"
else
  cat build/lint/configure.log
  failed "configuring"
fi

((status == 0)) && echo "lint: no findings"
exit "$status"
