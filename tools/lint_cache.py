"""Runs a checker over many sources in parallel and skips those that were clean before.

A source is skipped when it, every project header it reaches, the command and the checker's version
and settings are what they were when it last came out clean.
"""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
NOISE = re.compile(r"^\d+ warnings? (and \d+ errors? )?(generated|treated as errors)")


@dataclasses.dataclass(frozen=True)
class Check:
    source: pathlib.Path
    command: tuple[str, ...]
    settings: str  # whatever else decides the outcome: versions, configuration


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


def key_of(check: Check) -> str:
    digest = hashlib.sha256("\0".join([*check.command, check.settings]).encode())
    for file in reached_files(check.source):
        digest.update(str(file.relative_to(ROOT)).encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def run_one(check: Check) -> tuple[bool, str]:
    done = subprocess.run(check.command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode == 0, "\n".join(line for line in lines if not NOISE.match(line))


def run_all(name: str, checks: list[Check], cache: pathlib.Path) -> bool:
    """Prints the findings and one closing line; True when there were none."""
    cache.mkdir(parents=True, exist_ok=True)
    pending = {check: marker for check in checks if not (marker := cache / key_of(check)).exists()}
    began = time.monotonic()
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = {pool.submit(run_one, check): check for check in pending}
        for job in concurrent.futures.as_completed(jobs):
            clean, said = job.result()
            if clean:
                pending[jobs[job]].touch()
            else:
                bad += 1
                print(said, flush=True)
    unchanged = len(checks) - len(pending)
    elapsed_s = time.monotonic() - began
    print(f"{name}: {len(pending)} checked in {elapsed_s:.0f} s, {unchanged} unchanged, {bad} bad")
    return bad == 0
