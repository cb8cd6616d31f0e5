#!/usr/bin/env bash
# `make peers`: PyTorch (its CPU kernels) and ggml under build/peers, as further baselines. Optional:
# neither the demo nor the tests need them. The next `make build` finds them (cmake/peers.cmake).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
torch_version=2.15.0
llama_cpp_python_version=0.3.36
peers=$PWD/build/peers
mkdir -p "$peers"

say() { printf 'peers: %s\n' "$*"; }
pip() { build/venv/bin/python -m pip "$@" -q --disable-pip-version-check; }

fetch_torch() {
  local stamp=$peers/torch-$torch_version
  [[ -f $stamp ]] && return 0
  say "installing torch $torch_version (4 GB with the CUDA libraries that it links)"
  rm -rf "$peers/python"
  pip install --target "$peers/python" "torch==$torch_version"
  touch "$stamp"
}

build_ggml() {
  local stamp=$peers/ggml-$llama_cpp_python_version
  [[ -f $stamp ]] && return 0
  say "building the ggml of llama-cpp-python $llama_cpp_python_version"
  local archive=llama_cpp_python-$llama_cpp_python_version
  # Before it hands the archive over, pip asks the package's build backend, whose own tools must not
  # be built from source (--no-binary :all: would build CMake).
  [[ -f $peers/download/$archive.tar.gz ]] ||
    pip download --no-deps --no-binary llama-cpp-python --dest "$peers/download" \
      "llama-cpp-python==$llama_cpp_python_version"
  rm -rf "$peers/ggml-source" "$peers/ggml-build" "$peers/ggml"
  mkdir -p "$peers/ggml-source"
  tar -xzf "$peers/download/$archive.tar.gz" -C "$peers/ggml-source" --strip-components=4 \
    "$archive/vendor/llama.cpp/ggml"
  touch "$peers/ggml-source/ggml.pc.in" # named by its CMakeLists.txt, absent from the archive
  # GGML_NATIVE: its best kernels for this very CPU; GGML_LLAMAFILE: its fast matrix products. As
  # llama.cpp's users build it.
  cmake -S "$peers/ggml-source" -B "$peers/ggml-build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="$peers/ggml" -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON -DGGML_CCACHE=OFF \
    -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF --log-level=WARNING >/dev/null
  cmake --build "$peers/ggml-build" --target install >"$peers/ggml-build.log" ||
    { tail -n 30 "$peers/ggml-build.log"; return 1; }
  touch "$stamp"
}

fetch_torch
build_ggml
say "done; \`make build\` now builds their baselines"
