#!/usr/bin/env python3
"""Compiles every header of the harness, the references and the command line on its own.

Kernel headers are left out: they are meant to be included inside a `target` region. So are those
that need the CUDA toolkit, which not every machine has.
"""

import argparse
import pathlib
import re
import subprocess
import sys

import lint_cache

FOLDERS = ("harness", "reference", "cli")
TOOLKIT = re.compile(r"^#include <(cuda|cublas)", re.MULTILINE)


def checks_of(tree: pathlib.Path) -> list[lint_cache.Check]:
    version = subprocess.check_output(["g++", "--version"], text=True)
    packages = subprocess.check_output(["pkg-config", "--cflags", "hdf5", "hwloc"], text=True)
    command = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{lint_cache.ROOT}", f"-I{tree / 'generated'}", *packages.split()]
    headers = [h for folder in FOLDERS for h in sorted((lint_cache.ROOT / folder).glob("*.h"))]
    return [
        # An empty source that includes it: `#pragma once` in a main file would be a warning.
        lint_cache.Check(h, (*command, "-include", str(h), "-x", "c++", "/dev/null"), version)
        for h in headers
        if not TOOLKIT.search(h.read_text(encoding="utf-8"))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=pathlib.Path, required=True, help="a configured build tree")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder of clean results")
    options = parser.parse_args()
    clean = lint_cache.run_all("headers alone", checks_of(options.tree), options.cache)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
