#!/usr/bin/env python3
"""Gathers what ptxas said of every kernel into one JSON file, which `pareto list --verbose` reads.

Called as `ptxas_table.py OUT OBJECT...`; the gate has left <object>.ptxas beside each object. Where
there is a disassembler, the instructions that tell how a kernel works are counted as well.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import sass_counts

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
LOCAL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def readable(mangled: str) -> str:
    """The name of a kernel with its template arguments, without namespaces and parameters."""
    if shutil.which("c++filt") is None:
        return mangled
    text = subprocess.check_output(["c++filt", mangled], text=True).strip()
    text = text.replace("(anonymous namespace)::", "").removeprefix("void ")
    depth = 0
    for at, char in enumerate(text):
        depth += {"<": 1, ">": -1}.get(char, 0)
        if char == "(" and depth == 0:
            text = text[:at]
            break
    return re.sub(r"\b[a-z_]\w*::", "", text)


def kernels_in(log: str, counts: sass_counts.Counts) -> list[dict]:
    found: list[dict] = []
    for line in log.splitlines():
        if entry := ENTRY.search(line):
            found.append(
                {
                    "kernel": readable(entry.group(1)),
                    "arch": entry.group(2),
                    "instructions": counts.get(entry.groups()),  # null: not disassembled
                    "registers": 0,
                    "shared_bytes": 0,
                    "stack_bytes": 0,
                    "spill_bytes": 0,
                }
            )
        elif found and (local := LOCAL.search(line)):
            found[-1]["stack_bytes"] = int(local.group(1))
            found[-1]["spill_bytes"] = int(local.group(2)) + int(local.group(3))
        elif found and (used := USED.search(line)):
            found[-1]["registers"] = int(used.group(1))
            shared = SHARED.search(line)
            found[-1]["shared_bytes"] = int(shared.group(1)) if shared else 0
    return found


def source_of(path: pathlib.Path) -> str:
    """…/pareto_cuda.dir/kernels/qgemm/cuda_mma.cu.o → kernels/qgemm/cuda_mma.cu"""
    parts = path.parts
    below = max(i for i, part in enumerate(parts) if part.endswith(".dir")) + 1
    return "/".join(parts[below:]).removesuffix(".o")


def main() -> int:
    out = pathlib.Path(sys.argv[1])
    table = {}
    for name in sys.argv[2:]:
        log = pathlib.Path(name + ".ptxas")
        if log.is_file():
            text = log.read_text(encoding="utf-8")
            counts = sass_counts.counts_of(name)
            table[source_of(pathlib.Path(name))] = kernels_in(text, counts)
    out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
