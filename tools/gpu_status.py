#!/usr/bin/env python3
"""Writes results/GPU_STATUS.md: which CUDA variants have run on a device, and what came of it.

The variants are those that `pareto list` names, the verdicts those of results/*/h200.h5. A variant
without a case in any of them has not run; nothing is claimed about it.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOT_RUN = "not yet run"

HEADER = """# CUDA variants and the devices they have run on

Written by `tools/gpu_status.py` from `pareto list` and `results/*/h200.h5`; not edited by hand.
"Not yet run" means that the kernel compiles for sm_80 and sm_90a, passes the check of what ptxas
said about it, and that its index maps are tested on the host; whether it is right or fast is not
known.

| variant | needs | what it is | verdict |
|---|---|---|---|
"""


def asked(program: pathlib.Path, *words: str) -> dict:
    return json.loads(subprocess.check_output([str(program), *words, "--json"], text=True))


def cuda_variants(listing: dict) -> list[dict]:
    return sorted((v for v in listing["variants"] if v["needs_cuda"] > 0), key=lambda v: v["name"])


def verdicts(program: pathlib.Path, files: list[pathlib.Path]) -> dict[str, collections.Counter]:
    """How many cases of each variant ended in which check status."""
    counted: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for file in files:
        for case in asked(program, "show", str(file))["cases"]:
            counted[f"{case['op']}/{case['variant']}"][case["check_status"]] += 1
    return counted


def table(variants: list[dict], counted: dict[str, collections.Counter]) -> str:
    lines = []
    for variant in variants:
        needs = f"{variant['needs_cuda'] // 10}.{variant['needs_cuda'] % 10}"
        statuses = counted.get(variant["name"], {})
        verdict = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())) or NOT_RUN
        summary = variant["summary"].replace("|", "\\|")
        lines.append(f"| `{variant['name']}` | CUDA {needs} | {summary} | {verdict} |\n")
    return "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "pareto")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "GPU_STATUS.md")
    parser.add_argument("--check", action="store_true", help="fail if the file is out of date")
    arguments = parser.parse_args()
    variants = cuda_variants(asked(arguments.program, "list"))
    if any("built without CUDA" in variant["reason"] for variant in variants):
        print(f"{arguments.program} was built without CUDA: it cannot describe its variants")
        return 2
    counted = verdicts(arguments.program, sorted((ROOT / "results").glob("*/h200.h5")))
    text = HEADER + table(variants, counted)
    if arguments.check:
        if arguments.output.is_file() and arguments.output.read_text(encoding="utf-8") == text:
            return 0
        print(f"{arguments.output} is out of date: run tools/gpu_status.py", file=sys.stderr)
        return 1
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
