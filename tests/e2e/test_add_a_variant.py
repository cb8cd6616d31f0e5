"""The walk-through "Add a variant" of CONTRIBUTING.md, done: its code block becomes a variant.

The file is compiled and linked by the very commands of the build, but beside it, so that the source
tree stays as it is.
"""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import program
import pytest
from program import pareto, pareto_json, write

BUILD = Path(os.environ.get("PARETO_BUILD_DIR", "build")).resolve()
NEIGHBOUR = "kernels/qgemm/scalar.cc"
EXPERIMENT = """
[[sweep]]
op = "qgemm"
variant = ["dot_*"]
M = 4
N = 16
K = 32
[measure]
budget_s = 0.02
precision = 0.5
"""


def code_block():
    text = Path("CONTRIBUTING.md").read_text()
    name = re.search(r"Save this as `kernels/qgemm/(\w+)\.cc`", text).group(1)
    return name, re.search(r"```cpp\n(.*?)```", text, re.DOTALL).group(1)


def run_in_build(command):
    subprocess.run(command, cwd=BUILD, check=True, capture_output=True, text=True)


def with_twice_the_answer(code, name, declares=""):
    """The kernel of the walk-through gone wrong, as another variant."""
    code = code.replace('"dot_fp32"', f'"{name}"').replace("= sum;", "= 2 * sum;")
    return code.replace(".keeps_operands = true,", f".keeps_operands = true,{declares}")


def compile_like_neighbour(source, target):
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        if entry["file"].endswith(NEIGHBOUR) and "/asan/" not in entry["command"]:
            words = shlex.split(entry["command"])
            words[words.index("-o") + 1] = str(target)
            words[words.index("-c") + 1] = str(source)
            run_in_build(words)
            return
    pytest.fail(f"{NEIGHBOUR} is not in compile_commands.json")


def link_with(extra, target):
    listing = subprocess.run(
        ["ninja", "-t", "commands", "pareto"], cwd=BUILD, check=True, capture_output=True, text=True
    )
    link = next(line for line in reversed(listing.stdout.splitlines()) if " -o pareto " in line)
    run_in_build(["sh", "-c", link.replace(" -o pareto ", f" {extra} -o {target} ", 1)])


@pytest.fixture(scope="module")
def variant(tmp_path_factory):
    """Name of the variant; the program under test is one that has it."""
    folder = tmp_path_factory.mktemp("variant")
    name, code = code_block()
    sources = {
        name: code,
        "wrong_ours": with_twice_the_answer(code, "wrong_ours"),
        "wrong_library": with_twice_the_answer(code, "wrong_library", ".baseline = true,"),
    }
    for stem, text in sources.items():
        compile_like_neighbour(write(folder / f"{stem}.cc", text), folder / f"{stem}.o")
    link_with(" ".join(str(folder / f"{stem}.o") for stem in sources), folder / "pareto")
    before, program.PROGRAM = program.PROGRAM, str(folder / "pareto")
    yield name
    program.PROGRAM = before


def test_is_listed(variant):
    names = [v["name"] for v in pareto_json("list", "--op", "qgemm")["variants"] if v["runnable"]]
    assert f"qgemm/{variant}" in names


def test_passes_its_checks(variant):
    result = pareto("check", f"^qgemm/{variant} ")
    assert result.returncode == 0, result.stdout
    assert ", 0 failed" in result.stdout
    assert not result.stdout.startswith("0 passed")


def test_is_timed_against_another(variant):
    words = ["--variant", f"{variant},scalar", "--set", "M=4", "N=16", "K=32", "--budget", "0.05"]
    timed = pareto_json("time", "qgemm", *words)
    assert [case["check_status"] for case in timed["cases"]] == ["pass", "pass"]
    assert timed["pairs"][0]["second"] == variant


def test_runs_in_an_experiment(variant, tmp_path):
    experiment = write(tmp_path / "e.toml", EXPERIMENT)
    result = pareto("run", experiment, "-o", tmp_path / "cases")
    assert result.returncode == 0, result.stdout + result.stderr
    assert pareto("merge", tmp_path / "cases", "-o", tmp_path / "r.h5").returncode == 0
    (case,) = pareto_json("show", tmp_path / "r.h5")["cases"]
    assert case["variant"] == variant
    assert case["check_status"] == "pass"


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize(("wrong", "code"), [("wrong_ours", 1), ("wrong_library", 0)])
def test_only_our_own_failures_fail_a_command(wrong, code, tmp_path):
    experiment = write(tmp_path / "e.toml", EXPERIMENT.replace("dot_*", wrong))
    checked = pareto("check", f"^qgemm/{wrong} ")
    assert checked.returncode == code, checked.stdout
    assert ("of baselines failed" in checked.stdout) == (code == 0)
    words = ["--variant", wrong, "--set", "M=4", "N=16", "K=32", "--budget", "0.05"]
    assert pareto("time", "qgemm", *words).returncode == code
    assert pareto("bench", experiment).returncode == code
    cases, results = tmp_path / "cases", tmp_path / "r.h5"
    assert pareto("run", experiment, "-o", cases).returncode == code
    assert pareto("merge", cases, "-o", results).returncode == 0
    (case,) = pareto_json("show", results)["cases"]
    assert case["check_status"] == "fail"
    assert pareto("repro", results, case["case"], "--iterations", 5).returncode == code
