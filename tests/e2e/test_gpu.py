"""What a machine without a GPU says of CUDA variants, and what is claimed about them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import PROGRAM, pareto, pareto_json

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("gpu_*.toml"))


def without_gpu():
    return pareto_json("machine")["device"]["reason"]


def built_with_cuda():
    return "built without CUDA" not in without_gpu()


def cuda_variants(*words):
    return [v for v in pareto_json("list", *words)["variants"] if v["needs_cuda"] > 0]


def test_variants_say_why_they_cannot_run():
    if not without_gpu():
        pytest.skip("this machine has a GPU")
    # One variant a file, named like it: also what a build without CUDA lists them by.
    files = {f"{p.parent.name}/{p.stem}" for p in ROOT.glob("kernels/*/*.cu")}
    variants = {v["name"]: v for v in pareto_json("list")["variants"] if v["name"] in files}
    assert files == variants.keys()
    reason = "needs CUDA " if built_with_cuda() else "built without CUDA"
    for variant in variants.values():
        assert not variant["runnable"]
        assert variant["reason"].startswith(reason), variant


def test_acceptance_without_a_gpu_exits_3(tmp_path):
    reason = without_gpu()
    if not reason:
        pytest.skip("this machine has a GPU")
    result = subprocess.run(
        [ROOT / "tools" / "gpu_accept.sh", "-o", tmp_path / "accept"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PARETO_PROGRAM": PROGRAM},
    )
    assert result.returncode == 3, result.stdout + result.stderr
    assert reason in result.stdout
    assert not (tmp_path / "accept").exists()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_are_planned_and_run_nothing_here(experiment, tmp_path):
    if not without_gpu():
        pytest.skip("this machine has a GPU")
    planned = pareto("plan", experiment, "--json")
    assert planned.returncode == 3
    plan = json.loads(planned.stdout)
    assert plan["cases"] == []
    assert plan["skipped"]
    assert pareto("run", experiment, "-o", tmp_path / "cases").returncode == 3


def test_instructions_are_what_the_kernel_is_built_on():
    if not built_with_cuda():
        pytest.skip("built without CUDA")
    by_name = {v["name"]: v for v in cuda_variants("--verbose")}
    for kernel in by_name["qgemm/cuda_mma"]["kernels"]:
        if kernel["instructions"] is None:
            pytest.skip("built without a disassembler")
        assert min(kernel["instructions"][name] for name in ("HMMA", "LDSM", "LDGSTS")) > 0
        assert not {"LDL", "STL"} & kernel["instructions"].keys()  # nothing in local memory
    assert "HMMA" in pareto("list", "--op", "qgemm", "--verbose").stdout


def test_registers_and_occupancy_are_listed():
    if not built_with_cuda():
        pytest.skip("built without CUDA")
    by_name = {v["name"]: v for v in cuda_variants("--verbose")}
    kernels = by_name["qgemm/cuda_mma"]["kernels"]
    assert {kernel["arch"] for kernel in kernels} >= {"sm_80", "sm_90a"}
    for kernel in kernels:
        assert 0 < kernel["registers"] <= 128
        assert kernel["spill_bytes"] == 0 and kernel["stack_bytes"] == 0
        # As its __launch_bounds__ promises: two blocks of 256 threads.
        assert (kernel["threads"], kernel["resident_blocks"]) == (256, 2)
        assert (kernel["resident_warps"], kernel["possible_warps"]) == (16, 64)


def test_nothing_is_claimed_that_has_not_run():
    if not built_with_cuda():
        pytest.skip("built without CUDA")
    command = [sys.executable, ROOT / "tools" / "gpu_status.py", "--program", PROGRAM, "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
