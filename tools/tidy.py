#!/usr/bin/env python3
"""Runs clang-tidy over every C++ source of a compilation database, in parallel and cached."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import lint_cache

EXTRA_ARGUMENTS = [
    # GCC's `target` pragmas mean nothing to clang: give it all instruction sets at once.
    "-march=sapphirerapids",
    "-Wno-unknown-warning-option",
    "-Wno-unknown-pragmas",
]


def checks_of(tree: pathlib.Path, only: str) -> list[lint_cache.Check]:
    version = subprocess.check_output(["clang-tidy", "--version"], text=True)
    config = (lint_cache.ROOT / ".clang-tidy").read_text(encoding="utf-8")
    command = ["clang-tidy", "-p", str(tree), "--quiet"]
    command += [f"--extra-arg={argument}" for argument in EXTRA_ARGUMENTS]
    checks = {}
    database = json.loads((tree / "compile_commands.json").read_text(encoding="utf-8"))
    for entry in database:
        source = entry["file"]
        if source.endswith(".cc") and re.search(only, source):
            settings = "\n".join([version, config, entry["command"]])
            checks[source] = lint_cache.Check(pathlib.Path(source), (*command, source), settings)
    return list(checks.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=pathlib.Path, required=True, help="a configured build tree")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder of clean results")
    parser.add_argument("--only", default="", help="regular expression over source paths")
    options = parser.parse_args()
    checks = checks_of(options.tree, options.only)
    return 0 if lint_cache.run_all("clang-tidy", checks, options.cache) else 1


if __name__ == "__main__":
    sys.exit(main())
