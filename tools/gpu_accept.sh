#!/usr/bin/env bash
# Checks and measures every CUDA variant on a machine with a GPU, in pieces that can be repeated.
#
#   gpu_accept.sh [-o FOLDER] [-m MINUTES] [-j JOBS] [--quick] [--energy]
#
# Works from the repository (after `make cuda`) and from an installed folder alike, and needs
# neither a compiler nor a network. What is finished is not done again: a piece ends after MINUTES
# (default 8) with status 4, and the next call goes on. JOBS checks run side by side (default: half
# the processors, 8 at most); what is timed runs alone. Status 0: all done and good; 1: a check
# failed; 3: nothing can run here, and why. --energy: joules of every case, 5 s and more each.
set -euo pipefail

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
root=$(dirname "$here")
if [[ -f $root/CMakeLists.txt ]]; then # the repository
  program=${PARETO_PROGRAM:-$root/build/pareto}
  folder=$root/build/gpu-accept
  results=$root/results
else # PREFIX/share/pareto/tools
  program=$(dirname "$(dirname "$root")")/bin/pareto
  folder=$PWD/gpu-accept
  results=$PWD/gpu-accept/results
fi
minutes=8
jobs=$(($(nproc) / 2))
jobs=$((jobs < 1 ? 1 : jobs > 8 ? 8 : jobs))
quick=()
energy=()
while (($#)); do
  case $1 in
    -o) folder=$2 results=$2/results && shift 2 ;;
    -m) minutes=$2 && shift 2 ;;
    -j) jobs=$2 && shift 2 ;;
    --quick) quick=(--quick) && shift ;;
    --energy) energy=(--energy) && shift ;;
    *) echo "gpu_accept: unknown argument $1; see the head of this script" >&2 && exit 2 ;;
  esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "gpu_accept: -m $minutes: whole minutes" >&2; exit 2; }
[[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "gpu_accept: -j $jobs: jobs side by side" >&2; exit 2; }
[[ -x $program ]] || { echo "gpu_accept: no program at $program: run make cuda first" >&2; exit 3; }

begin=$SECONDS
left_s() { echo $((minutes * 60 - (SECONDS - begin))); }
# Stops here, to be continued, unless enough time is left for a step.
need_s() {
  (($(left_s) >= $1)) && return
  wait # for steps side by side, which end in time
  echo "gpu_accept: $minutes minutes are over: run it again to go on"
  exit 4
}
# Runs a command within what is left; a step that the clock cuts short is not finished.
within() {
  local status=0
  timeout --signal=KILL "$(left_s)" "$@" || status=$?
  if ((status == 137)); then need_s $((minutes * 60)); fi
  return "$status"
}

device=$("$program" machine --json | sed -n '/"device": {/,/}/p')
reason=$(sed -n 's/.*"reason": "\(.*\)".*/\1/p' <<<"$device")
if [[ -n $reason || -z $device ]]; then
  echo "gpu_accept: no GPU to run on: ${reason:-the program does not say}"
  exit 3
fi
mkdir -p "$folder/checks" "$folder/sanitizer" "$results/gpu"
build=$("$program" machine --json | sed -n 's/.*"build": "\([0-9a-f]*\)".*/\1/p')
if [[ -f $folder/build && $(<"$folder/build") != "$build" ]]; then
  echo "gpu_accept: $folder holds results of another build; give another folder with -o" >&2
  exit 2
fi
echo "$build" >"$folder/build"
"$program" machine --json >"$folder/machine.json"
failed=0

mapfile -t variants < <("$program" list | awk '$1 ~ /\/(cuda|cublaslt|cusparse|cudnn|torch_cuda)_/ {print $1}')

# The status is in the file: 1 is a failed check, 3 one that cannot run here.
check() {
  local out=$folder/checks/${1/\//-}.json
  echo "check $1"
  within taskset -c "$processor" "$program" check "^$1 " --json >"$out.part" || true
  mv "$out.part" "$out"
}

# One call on every input of the checks, edge shapes included, under the sanitizer: it patches each
# kernel that is loaded and slows each call down many times, so only what is called is loaded, and
# of one activation without bias, since the others run the same loads.
sanitize() {
  local out=$folder/sanitizer/${1/\//-}.$2 status=0
  local limit_s=$(($(left_s) < 120 ? $(left_s) : 120))
  echo "$2 $1"
  CUDA_MODULE_LOADING=LAZY timeout --signal=KILL "$limit_s" taskset -c "$processor" \
    "$sanitizer" --tool "$2" --target-processes all --error-exitcode 9 --print-limit 10 \
    "$program" check --calls-only "^$1 .*(activation=none .*bias=none|seq_kv=)" \
    >"$out.part" 2>&1 || status=$?
  local summary
  summary=$(grep -E "(ERROR|RACECHECK) SUMMARY:" "$out.part" | tail -n 1)
  case $status in
    137) echo "not finished within $limit_s s" >>"$out.part" ;;
    9) echo "errors" >>"$out.part" ;;
    0)
      case $summary in
        *" 0 errors"* | *" 0 hazards"*) echo "clean" >>"$out.part" ;;
        *) echo "${summary:-not run: no summary}" >>"$out.part" ;;
      esac ;;
    *) echo "not run: status $status" >>"$out.part" ;;
  esac
  # What the end of the piece cut short is done again.
  if ((status != 137 || limit_s == 120)); then mv "$out.part" "$out"; fi
}

# Processors that this script may use, one by one.
mapfile -t processors < <(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status | tr ',' '\n' |
  awk -F- '{for (cpu = $1; cpu <= $NF; ++cpu) print cpu}')
turn=0
# Waits until fewer than `jobs` steps run, and says on which processor the next one has its turn:
# each would pin itself to the first one.
await_place() {
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
  processor=${processors[$((turn++ % ${#processors[@]}))]}
}

for variant in "${variants[@]}"; do
  [[ -s $folder/checks/${variant/\//-}.json ]] && continue
  need_s 60
  await_place
  check "$variant" &
done
wait
# Libraries' failures are reported, not judged.
if grep -lE '"status": "(fail|untrusted)"' "$folder"/checks/*-cuda_*.json >"$folder/failed"; then
  failed=1
fi
# "NVIDIA H200" names its results h200.h5.
gpu=$(sed -n 's/.*"name": "\(.*\)".*/\1/p' <<<"$device" | tr '[:upper:]' '[:lower:]' |
  sed -E 's/^nvidia //; s/[^a-z0-9]+/_/g')
for experiment in "$root"/experiments/gpu_*.toml; do
  name=$(basename "$experiment" .toml)
  file=$results/$name/${gpu:-unknown}.h5
  [[ -f $folder/$name.done ]] && continue
  need_s 60
  echo "run $name"
  status=0
  within "$program" run "$experiment" "${quick[@]}" "${energy[@]}" -o "$folder/$name" || status=$?
  case $status in
    0) ;;
    1) failed=1 ;;
    3) touch "$folder/$name.done" && continue ;; # no variant of it can run here
    *) echo "gpu_accept: $name ended with status $status; run it again to go on" >&2 && exit 4 ;;
  esac
  mkdir -p "$(dirname "$file")"
  "$program" merge "$folder/$name" -o "$file" --keep newest
  touch "$folder/$name.done"
done

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
for tool in memcheck racecheck; do
  for variant in "${variants[@]}"; do
    [[ $variant == */cuda_* ]] || continue
    out=$folder/sanitizer/${variant/\//-}.$tool
    [[ -s $out ]] && continue
    if [[ -z $sanitizer ]]; then
      echo "not run: compute-sanitizer is not on this machine" >"$out"
      continue
    fi
    need_s 30
    await_place
    sanitize "$variant" "$tool" &
  done
done
wait
if grep -qx errors "$folder"/sanitizer/* 2>/dev/null; then failed=1; fi

if command -v python3 >/dev/null; then
  python3 "$here/gpu_status.py" --program "$program" --accepted "$folder" --results "$results" \
    --output "$results/GPU_STATUS.md"
  echo "gpu_accept: done; $results/GPU_STATUS.md says what came of it"
else
  echo "gpu_accept: done; without python3 GPU_STATUS.md is left as it was"
fi
exit "$failed"
