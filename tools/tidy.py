#!/usr/bin/env python3
"""Runs clang-tidy over every C++ source of the compilation database, in parallel and cached.

A source is skipped when it, every project header it reaches, its flags, .clang-tidy and clang-tidy
itself are what they were when it last came out clean; a second run takes about a second.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
EXTRA_ARGUMENTS = [
    # GCC's `target` pragmas mean nothing to clang: give it all instruction sets at once.
    "-march=sapphirerapids",
    "-Wno-unknown-warning-option",
    "-Wno-unknown-pragmas",
]


def reached_files(source: pathlib.Path) -> list[pathlib.Path]:
    """The source and all project files that it includes, directly or not."""
    seen: set[pathlib.Path] = set()
    pending = [source]
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in INCLUDE.findall(file.read_text(encoding="utf-8", errors="replace")):
            for folder in (ROOT, file.parent):
                if (folder / name).is_file():
                    pending.append((folder / name).resolve())
                    break
    return sorted(seen)


def key_of(entry: dict, tool: str) -> str:
    digest = hashlib.sha256(tool.encode())
    digest.update(entry["command"].encode())
    for file in reached_files(pathlib.Path(entry["file"])):
        digest.update(str(file.relative_to(ROOT)).encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def tidy(source: str, tree: pathlib.Path) -> tuple[bool, str]:
    command = ["clang-tidy", "-p", str(tree), "--quiet"]
    command += [f"--extra-arg={argument}" for argument in EXTRA_ARGUMENTS]
    done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
    noise = re.compile(r"^\d+ warnings? (and \d+ errors? )?(generated|treated as errors)")
    said = "\n".join(
        line for line in (done.stdout + done.stderr).splitlines() if not noise.match(line)
    )
    return done.returncode == 0, said


def tool_identity() -> str:
    version = subprocess.check_output(["clang-tidy", "--version"], text=True)
    config = (ROOT / ".clang-tidy").read_text(encoding="utf-8")
    return "\n".join([version, config, *EXTRA_ARGUMENTS])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=pathlib.Path, required=True, help="a configured build tree")
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder of clean results")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="regular expression over source paths")
    options = parser.parse_args()

    options.cache.mkdir(parents=True, exist_ok=True)
    database = json.loads((options.tree / "compile_commands.json").read_text(encoding="utf-8"))
    tool = tool_identity()
    pending = {}
    for entry in database:
        source = entry["file"]
        if source.endswith(".cc") and re.search(options.only, source) and source not in pending:
            marker = options.cache / key_of(entry, tool)
            if not marker.exists():
                pending[source] = marker

    began = time.monotonic()
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(tidy, source, options.tree): source for source in pending}
        for job in concurrent.futures.as_completed(jobs):
            clean, said = job.result()
            if clean:
                pending[jobs[job]].touch()
            else:
                bad += 1
                print(said, flush=True)
    elapsed_s = time.monotonic() - began
    print(f"clang-tidy: {len(pending)} sources in {elapsed_s:.0f} s, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
