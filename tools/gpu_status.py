#!/usr/bin/env python3
"""Writes results/GPU_STATUS.md: which CUDA variants have run on a device, and what came of it.

The variants are those that `pareto list` names. What is known of them comes from
results/gpu/checks.json, which `tools/gpu_accept.sh` leaves (through --accepted) on a machine with a
GPU, and from the result files results/gpu_*/*.h5. A variant that is in neither has not run; nothing
is claimed about it.
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

Written by `tools/gpu_status.py` from `pareto list`, `results/gpu/checks.json` and
`results/gpu_*/*.h5`; not edited by hand. `make gpu-accept` on a machine with a GPU fills it in.
"Not yet run" means that the kernel compiles for sm_80 and sm_90a, passes the check of what ptxas
said about it, and that its index maps are tested on the host; whether it is right or fast is not
known. A pass is one problem of `pareto check`, which varies the options under the first type that
a variant takes. Figures are those of the commit named below.

"""
# Of records without the mark "options_under_own_type".
OLD_MATRIX = """At that commit options varied under the operation's default type alone, and inputs
beyond a variant's limits were left out: a variant that does not take that type met few options,
one for whole tiles few inputs.

"""
COLUMNS = "| variant | needs | what it is | checks | memcheck, racecheck | best rate | of ceiling \
| against the best library |\n|---|---|---|---|---|---|---|---|\n"


def asked(program: pathlib.Path, *words: str) -> dict:
    return json.loads(subprocess.check_output([str(program), *words, "--json"], text=True))


def cuda_variants(listing: dict) -> list[dict]:
    return sorted((v for v in listing["variants"] if v["needs_cuda"] > 0), key=lambda v: v["name"])


def last_line(path: pathlib.Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    filled = [line for line in lines if line.strip()]
    return filled[-1] if filled else ""


def gathered(folder: pathlib.Path) -> dict:
    """What one acceptance on a device found, in a form that is worth keeping."""
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    variants = {}
    for path in sorted((folder / "checks").glob("*.json")):
        name = path.stem.replace("-", "/", 1)
        text = path.read_text(encoding="utf-8")
        checks = json.loads(text)["checks"] if text.strip() else []
        counts = collections.Counter(check["status"] for check in checks)
        wrong = [check for check in checks if check["status"] == "fail"]
        reasons = [check["message"] for check in checks if check["status"] == "skipped"]
        variants[name] = {
            "counts": dict(sorted(counts.items())),
            "first_failure": wrong[0]["message"] if wrong else "",
            "reason": reasons[0] if reasons and len(reasons) == len(checks) else "",
            "memcheck": last_line(folder / "sanitizer" / f"{path.stem}.memcheck"),
            "racecheck": last_line(folder / "sanitizer" / f"{path.stem}.racecheck"),
        }
    return {
        "device": machine["device"],
        "build": machine["build"],
        "options_under_own_type": True,
        "variants": variants,
    }


def timed_cases(program: pathlib.Path, results: pathlib.Path) -> list[dict]:
    cases = []
    for file in sorted(results.glob("gpu_*/*.h5")):
        cases += asked(program, "show", str(file))["cases"]
    return [case for case in cases if case.get("time_median_s")]


def work_of(case: dict) -> str:
    """What two cases must have in common for their times to be compared."""
    return str([case.get(key) for key in ("machine", "group_run", "scheme", "format", "dtype")])


def best_of(cases: list[dict], name: str) -> tuple[str, str, str]:
    """Highest rate, highest fraction of the ceiling, and best ratio to a library's time."""
    own = [case for case in cases if f"{case['op']}/{case['variant']}" == name]
    if not own:
        return "-", "-", "-"
    rate = max((case.get("flops_per_s") or 0) for case in own)
    fraction = max((case.get("ceiling_fraction") or 0) for case in own)
    libraries: dict[str, float] = {}
    for case in cases:
        if case["baseline"]:
            key = work_of(case)
            libraries[key] = min(libraries.get(key, 1e300), case["time_median_s"])
    ratios = [
        libraries[work_of(case)] / case["time_median_s"]
        for case in own
        if work_of(case) in libraries
    ]
    ratio = f"{min(ratios):.2f} to {max(ratios):.2f} times its speed" if ratios else "-"
    return f"{1e-12 * rate:.1f} T/s", f"{100 * fraction:.0f} %", ratio


def row(variant: dict, accepted: dict, cases: list[dict]) -> str:
    needs = f"CUDA {variant['needs_cuda'] // 10}.{variant['needs_cuda'] % 10}"
    summary = variant["summary"].replace("|", "\\|")
    found = accepted.get("variants", {}).get(variant["name"])
    if found is None:
        verdict, sanitized = NOT_RUN, "-"
    else:
        verdict = ", ".join(f"{count} {status}" for status, count in found["counts"].items())
        if found["reason"]:
            verdict = f"not checked, every problem was refused, the first for: {found['reason']}"
        if found["first_failure"]:
            verdict += f": {found['first_failure'].splitlines()[0][:200]}"
        sanitized = ", ".join(x for x in (found["memcheck"], found["racecheck"]) if x) or "-"
    rate, fraction, ratio = best_of(cases, variant["name"])
    cells = [f"`{variant['name']}`", needs, summary, verdict, sanitized, rate, fraction, ratio]
    return "| " + " | ".join(cells) + " |\n"


def device_line(accepted: dict) -> str:
    if not accepted:
        return "No device has run them yet.\n\n"
    device, build = accepted["device"], accepted["build"]
    line = (
        f"Device: {device['name']}, driver {device['driver']}; commit {build['git_commit']}, "
        f"build {build['build']}; {accepted['date']}.\n\n"
    )
    return line if accepted.get("options_under_own_type") else line + OLD_MATRIX


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build" / "pareto")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "results")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "results" / "GPU_STATUS.md")
    parser.add_argument("--accepted", type=pathlib.Path, help="folder of gpu_accept.sh")
    parser.add_argument("--check", action="store_true", help="fail if the file is out of date")
    arguments = parser.parse_args()
    listing = asked(arguments.program, "list")
    variants = cuda_variants(listing)
    if any("built without CUDA" in variant["reason"] for variant in listing["variants"]):
        print(f"{arguments.program} was built without CUDA: it cannot describe its variants")
        return 2
    kept = arguments.results / "gpu" / "checks.json"
    if arguments.accepted is not None:
        accepted = gathered(arguments.accepted)
        stamp = subprocess.check_output(["date", "-u", "+%Y-%m-%d"], text=True)
        accepted["date"] = stamp.strip()
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(accepted, indent=1) + "\n", encoding="utf-8")
    accepted = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    cases = timed_cases(arguments.program, arguments.results)
    text = HEADER + device_line(accepted) + COLUMNS
    text += "".join(row(variant, accepted, cases) for variant in variants)
    if arguments.check:
        if arguments.output.is_file() and arguments.output.read_text(encoding="utf-8") == text:
            return 0
        print(f"{arguments.output} is out of date: run tools/gpu_status.py", file=sys.stderr)
        return 1
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
