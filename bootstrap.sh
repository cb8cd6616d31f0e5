#!/usr/bin/env bash
# Installs what building, testing and plotting need: Debian packages, and one Python environment
# under build/venv. Does nothing, in well under a second, when all of it is there; then it needs
# neither a network nor root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

required=(g++ cmake ninja-build make git pkg-config binutils python3 python3-venv
  libhdf5-dev libaec-dev zlib1g-dev libcli11-dev libtomlplusplus-dev libfmt-dev libxxhash-dev nlohmann-json3-dev
  libhwloc-dev libgtest-dev libgmock-dev libbenchmark-dev libdnnl-dev libopenblas-dev)
# Their absence costs speed or a check, not the program.
optional=(ccache clang-format clang-tidy shellcheck hdf5-tools netcdf-bin)

say() { printf 'bootstrap: %s\n' "$*"; }
fail() {
  printf 'bootstrap: %s\n' "$*" >&2
  exit 1
}

# missing NAME...: those that dpkg does not have installed.
missing() {
  local installed
  # dpkg-query exits 1 when it has never heard of one of them, which is an answer, not a failure.
  installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
  local name
  for name in "$@"; do
    [[ $installed == *" $name:installed "* ]] || printf '%s ' "$name"
  done
}

install_packages() {
  local -a names
  read -ra names <<<"$1"
  local -a as_root=()
  if ((EUID != 0)); then
    # A prompt for a password is fine on a terminal; anywhere else it would hang.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      as_root=(sudo)
    else
      return 1
    fi
  fi
  say "installing Debian packages: ${names[*]}"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${names[@]}"
}

ensure_packages() {
  command -v dpkg-query >/dev/null || fail "this is not Debian; install by hand what stands for: ${required[*]}"
  local lacking nice
  lacking=$(missing "${required[@]}")
  nice=$(missing "${optional[@]}")
  [[ -n $lacking$nice ]] || return 0
  if ! install_packages "$lacking$nice"; then
    [[ -z $lacking ]] || fail "missing packages; as root: apt-get install $lacking$nice"
    say "optional packages missing: $nice"
  fi
}

ensure_python() {
  local venv=$PWD/build/venv
  # An environment knows its own path: a moved tree needs a new one.
  local wanted
  wanted="$venv
$(<requirements.txt)"
  local stamp=$venv/installed-requirements
  [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]] && return 0
  say "making the Python environment build/venv (requirements.txt)"
  # Debian's own interpreter: whatever else is first on PATH may lack venv or be too old.
  /usr/bin/python3 -m venv --clear "$venv" || fail "cannot make $venv; is python3-venv installed?"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r requirements.txt ||
    fail "cannot install requirements.txt into build/venv; is the Python package index reachable?"
  printf '%s' "$wanted" >"$stamp"
}

have_nvcc() { command -v nvcc >/dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]]; }

have_disassembler() {
  local path=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
  PATH=$path command -v cuobjdump >/dev/null && PATH=$path command -v nvdisasm >/dev/null
}

# fetch FOLDER PACKAGE==VERSION...: Python packages unpacked there, without what they depend on.
fetch() {
  local folder=$1
  shift
  say "fetching $*"
  rm -rf "$folder"
  build/venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --retries 1 \
    --timeout 10 --target "$folder" "$@"
}

# Headers alone: installing the package would bring gigabytes that nothing here calls. Without them
# one CUDA baseline is listed as not built.
ensure_cudnn_frontend() {
  local version=1.32.0 folder=$PWD/build/cudnn-frontend
  if [[ -f $folder/$version ]] || ! have_nvcc; then return 0; fi
  if fetch "$folder/package" "nvidia-cudnn-frontend==$version" &&
    [[ -f $folder/package/include/cudnn_frontend.h ]]; then
    rm -rf "$folder/include" "$folder/licenses"
    mv "$folder/package/include" "$folder/include"
    mv "$folder"/package/*.dist-info/licenses "$folder/licenses"
    touch "$folder/$version"
  else
    say "not fetched: attention/cudnn_sdpa will not be built"
  fi
  rm -rf "$folder/package"
}

# For `pareto list --verbose`; a toolkit need not bring them. See tools/sass_counts.py.
ensure_disassembler() {
  local version=13.5.37 folder=$PWD/build/cuda-disassembler
  if [[ -f $folder/$version ]] || ! have_nvcc || have_disassembler; then return 0; fi
  if fetch "$folder" "nvidia-cuda-cuobjdump==$version" "nvidia-cuda-nvdisasm==$version"; then
    chmod +x "$folder"/nvidia/*/bin/*
    touch "$folder/$version"
  else
    say "not fetched: the instructions of CUDA kernels will not be listed"
  fi
}

ensure_packages
ensure_python
ensure_cudnn_frontend
ensure_disassembler
