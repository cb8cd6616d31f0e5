"""A run resumes by itself, survives being killed, and ends with exactly the planned cases."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from program import PROGRAM, pareto, pareto_json, write

EXPERIMENT = """
title = "small"
[[sweep]]
op = "qgemm"
variant = "scalar"
scheme = ["fp32", "w8a8"]
M = [1, 2, 3, 4]
N = 32
K = 32
[measure]
budget_s = 0.01
min_blocks = 16
precision = 0.5
"""


@pytest.fixture
def experiment(tmp_path):
    return write(tmp_path / "small.toml", EXPERIMENT)


def case_names(folder):
    return sorted(p.stem for p in folder.glob("*.h5"))


def planned(experiment):
    return sorted(c["case"] for c in pareto_json("plan", experiment)["cases"])


def test_run_then_resume(tmp_path, experiment):
    folder = tmp_path / "cases"
    first = pareto("run", experiment, "-o", folder)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "8 measured" in first.stdout
    assert case_names(folder) == planned(experiment)
    second = pareto("run", experiment, "-o", folder)
    assert second.returncode == 0
    assert "0 measured, 8 found finished" in second.stdout


def test_damaged_case_is_measured_again_with_its_group(tmp_path, experiment):
    folder = tmp_path / "cases"
    pareto("run", experiment, "-o", folder)
    victim = folder / f"{case_names(folder)[0]}.h5"
    victim.write_bytes(victim.read_bytes()[:100])
    again = pareto("run", experiment, "-o", folder)
    assert again.returncode == 0, again.stderr
    assert "2 measured, 6 found finished" in again.stdout
    assert case_names(folder) == planned(experiment)


def test_shards_cover_the_plan(tmp_path, experiment):
    folder = tmp_path / "cases"
    for shard in ("1/3", "2/3", "3/3"):
        result = pareto("run", experiment, "-o", folder, "--shard", shard)
        assert result.returncode == 0, result.stderr
    assert case_names(folder) == planned(experiment)


def test_filter_that_selects_nothing_is_good(tmp_path, experiment):
    result = pareto("run", experiment, "-o", tmp_path / "cases", "--filter", "M=99 ")
    assert result.returncode == 0


def test_nothing_can_run_here_is_exit_3(tmp_path):
    path = write(tmp_path / "far.toml", EXPERIMENT.replace("K = 32", "K = 32\nthreads = 4096"))
    assert pareto("run", path, "-o", tmp_path / "cases").returncode == 3


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(entry))
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def reported(output):
    """Number of cases in groups that the run reported as written."""
    return sum(
        int(line.split(": ")[1].split()[0]) for line in output.splitlines() if " written: " in line
    )


KILLS = int(os.environ.get("PARETO_KILLS", "8"))


def test_kill_at_random_moments(tmp_path, experiment):
    seed = 20261121
    moments = random.Random(seed)
    wanted = planned(experiment)
    whole_s = None
    for _ in range(KILLS):
        folder = tmp_path / "cases"
        shutil.rmtree(folder, ignore_errors=True)
        if whole_s is None:
            start = time.monotonic()
            pareto("run", experiment, "-o", folder)
            whole_s = time.monotonic() - start
            shutil.rmtree(folder)
        process = subprocess.Popen(
            [PROGRAM, "run", experiment, "-o", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(moments.uniform(0, whole_s))
        children = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[1]
        deadline = time.monotonic() + 5
        while any(map(is_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(map(is_alive, children)), "a child outlived its killed parent"
        finished = len(case_names(folder)) if folder.exists() else 0
        assert finished >= reported(output)
        resumed = pareto("run", experiment, "-o", folder)
        assert resumed.returncode == 0, resumed.stderr
        assert case_names(folder) == wanted
        assert not list(folder.glob("*.tmp*"))


def test_two_runs_in_one_folder(tmp_path, experiment):
    folder = tmp_path / "cases"
    both = [
        subprocess.Popen(
            [PROGRAM, "run", experiment, "-o", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert case_names(folder) == planned(experiment)
    merged = pareto("merge", folder, "-o", tmp_path / "all.h5")
    assert merged.returncode == 0, merged.stderr
