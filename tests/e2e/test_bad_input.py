"""Bad input gives one line that names what is wrong, and the documented exit code."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from program import PROGRAM, pareto, pareto_json, write

SWEEP = '[[sweep]]\nop = "qgemm"\nvariant = "scalar"\nN = 8\nK = 8\n'
FIGURE = SWEEP + '[figure.f]\nkind = "frontier"\n'


def one_line(result, code, *parts):
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (SWEEP + 'shceme = "fp32"\n', ["bad.toml:6", "'shceme'", "'scheme'"]),
        (SWEEP.replace("scalar", "scalr"), ["bad.toml:3", "'scalr'", "'scalar'"]),
        (SWEEP + "M = []\n", ["bad.toml:6", "empty"]),
        (SWEEP + "M = -4\n", ["bad.toml:6", "'-4'", "from 0"]),
        (SWEEP + "M = 1.5\n", ["bad.toml:6", "'1.5'", "integer"]),
        ("x = [\n", ["bad.toml:", "not TOML"]),
        ("", ["bad.toml", "no [[sweep]]"]),
        (SWEEP + "[quick]\nNN = 4\n", ["bad.toml:7", "'NN'", "[quick]"]),
        (SWEEP + "[quick]\nop = 'sparse'\n", ["bad.toml:7", "op cannot be changed by [quick]"]),
        (SWEEP + "[measure]\nbudget_s = 0\n", ["bad.toml:7", "budget_s"]),
        (SWEEP + "[measure]\nprocesses = 1.9\n", ["bad.toml:7", "'1.9'", "a whole number"]),
        (FIGURE + 'x = "time_medan_s"\n', ["bad.toml:8", "'time_medan_s'", "'time_median_s'"]),
        (FIGURE + 'y = "variant"\n', ["bad.toml:8", "column of numbers", "'variant'"]),
        (FIGURE + 'ceilin = "read_dram"\n', ["bad.toml:8", "unknown key 'ceilin'"]),
        (FIGURE + 'ceiling = "read_dram"\n', ["bad.toml:8", "unknown key 'ceiling'"]),
        (FIGURE + "where = { shceme = 1 }\n", ["bad.toml:8", "'shceme'", "'scheme'"]),
    ],
)
def test_experiment(tmp_path, text, parts):
    path = write(tmp_path / "bad.toml", text)
    one_line(pareto("plan", path), 2, *parts)
    one_line(pareto("run", path, "-o", tmp_path / "cases"), 2, *parts)
    assert not (tmp_path / "cases").exists()


def test_arguments(tmp_path):
    good = write(tmp_path / "good.toml", SWEEP)
    one_line(pareto("lst"), 2, "'lst'", "'list'")
    one_line(pareto("plan", tmp_path / "none.toml"), 2, "none.toml")
    one_line(pareto("plan", good, "--shard", "3/2"), 2, "3/2")
    one_line(pareto("plan", good, "--filter", "("), 2, "regular expression")
    one_line(pareto("list", "--op", "qgem"), 2, "'qgem'", "'qgemm'")
    one_line(pareto("time", "qgemm", "--variant", "scalr"), 2, "'scalr'", "'scalar'")
    one_line(pareto("time", "qgemm", "--variant", "scalar", "--set", "M=-1"), 2, "M = '-1'")
    one_line(pareto("time", "qgemm", "--variant", "scalar", "--set", "M"), 2, "key=value")
    twice = pareto("time", "qgemm", "--variant", "scalar", "--set", "M=1", "M=2")
    one_line(twice, 2, "M=2", "given twice")
    for option in ("--precision", "--budget"):
        one_line(pareto("time", "qgemm", "--variant", "scalar", option, "nan"), 2, option, "'nan'")
    one_line(pareto("compare", "a.h5", "b.h5", "--margin", "nan"), 2, "--margin", "'nan'")
    one_line(pareto("plan", tmp_path), 2, "Is a directory")
    one_line(pareto("plan", "n" * 300), 2, "nnn", "File name too long")
    one_line(pareto("plan", "/dev/zero", timeout=60), 2, "/dev/zero", "not a regular file")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    one_line(pareto("plan", tmp_path / "loop.toml"), 2, "loop.toml", "Too many levels")
    one_line(pareto("show", good), 2, "good.toml")
    one_line(pareto("show", tmp_path / "none.h5"), 2, "none.h5")


def test_a_scheduler_that_is_not_there_is_said(tmp_path):
    good = write(tmp_path / "good.toml", SWEEP)
    variables = {"SLURM_ARRAY_TASK_ID": "", "SLURM_PROCID": "", "OMPI_COMM_WORLD_RANK": ""}
    words = ["plan", good, "--shard", "auto"]
    second = pareto(*words, env={**variables, "PMI_RANK": "1", "PMI_SIZE": "2"})
    assert "shard 2/2 (from the variables of PMI)" in second.stderr
    alone = pareto(*words, env={**variables, "PMI_RANK": ""})
    assert "shard 1/1 (no scheduler's variables are set)" in alone.stderr


def test_eval_tensors(tmp_path):
    good = tmp_path / "good.h5"
    with h5py.File(good, "w") as file:
        file["x"] = np.zeros((3, 8), np.float32)
        file["w"] = np.zeros((5, 8), np.float32)
    wrong = tmp_path / "wrong.h5"
    with h5py.File(wrong, "w") as file:
        file["x"] = np.zeros((3, 8), np.float32)
        file["w"] = np.zeros((5, 9), np.float32)
    missing = tmp_path / "missing.h5"
    with h5py.File(missing, "w") as file:
        file["x"] = np.zeros((3, 8), np.float32)
    out = tmp_path / "out.h5"

    def evaluate(path, *settings, variant="scalar"):
        words = ["eval", "qgemm", "--variant", variant, "--in", path, "--out", out]
        return pareto(*words, "--set", *settings) if settings else pareto(*words)

    assert evaluate(good).returncode == 0
    one_line(evaluate(wrong), 2, "wrong.h5", "w", "9")
    one_line(evaluate(missing), 2, "missing.h5", "w")
    one_line(evaluate(good, "scheme=w8a9"), 2, "'w8a9'", "'w8a8'")
    one_line(evaluate(good, variant="scala"), 2, "'scala'", "'scalar'")
    one_line(evaluate(write(tmp_path / "text.h5", "no")), 2, "text.h5", "HDF5")
    with h5py.File(wrong, "w") as file:
        file["x"] = np.full((3, 8), np.nan, np.float32)
        file["w"] = np.zeros((5, 8), np.float32)
    one_line(evaluate(wrong, "scheme=w8a8"), 2, "wrong.h5", "x")


def test_eval_settings_that_the_file_contradicts(tmp_path):
    with h5py.File(tmp_path / "qgemm.h5", "w") as file:
        file["x"], file["w"] = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    with h5py.File(tmp_path / "attention.h5", "w") as file:
        for name in ("q", "k", "v"):
            file[name] = np.ones((1, 2, 3, 4), np.float32)

    def evaluate(op, setting):
        words = ["eval", op, "--variant", "scalar", "--in", f"{op}.h5", "--out", "y.h5"]
        return pareto(*words, "--set", setting, cwd=tmp_path)

    for setting in ("bias=present", "x_zero=present", "operands=s8", "M=3"):
        key, value = setting.split("=")
        one_line(evaluate("qgemm", setting), 2, f"{key} = {value}", "of the file = ")
    for setting in ("alibi=given", "sinks=given", "bias=full", "allowed=full", "v=none"):
        key, value = setting.split("=")
        one_line(evaluate("attention", setting), 2, f"{key} = {value}", "of the file = ")
    one_line(evaluate("attention", "page_size=7"), 2, "page_size = 7", "layout dense")
    assert evaluate("qgemm", "bias=none").returncode == 0
    assert evaluate("attention", "scale=0.50").returncode == 0


def test_unwritable_output(tmp_path):
    good = write(tmp_path / "good.toml", SWEEP)
    blocked = write(tmp_path / "file", "not a folder")
    one_line(pareto("run", good, "-o", blocked), 2, "file", "must be a folder")
    one_line(pareto("run", good, "-o", "/proc/cases"), 4, "/proc/cases")


def test_what_cannot_be_written_is_no_success(tmp_path):
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["w"] = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    words = ["eval", "qgemm", "--variant", "scalar", "--in", path]
    one_line(pareto(*words, "--out", ""), 2, "--out ''", "names no file")
    one_line(pareto("merge", tmp_path, "-o", ""), 2, "-o ''", "names no file")
    for verb in (["machine"], ["list", "--json"], ["check", "^qgemm/scalar fp32 "]):
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [PROGRAM, *verb], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        one_line(result, 4, "No space left on device")


def test_eval_does_not_overwrite_its_input(tmp_path):
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["w"] = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    before = path.read_bytes()
    (tmp_path / "link.h5").symlink_to(path)
    words = ["eval", "qgemm", "--variant", "scalar", "--in", path, "--out"]
    for target in ("in.h5", "link.h5", "in.h5:/results"):
        one_line(pareto(*words, tmp_path / target), 2, "--out", "would be overwritten")
    assert path.read_bytes() == before
    one_line(pareto(*words, tmp_path / "out.h5", "--set", "M=5"), 2, "M = 5", "file = 2")


def test_outputs_replace_no_device(tmp_path):
    path, pipe = tmp_path / "in.h5", tmp_path / "pipe.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["w"] = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    os.mkfifo(pipe)
    result = pareto("eval", "qgemm", "--variant", "scalar", "--in", path, "--out", pipe)
    one_line(result, 4, "pipe.h5", "not a regular file")
    assert pipe.is_fifo()


PLUGINS = Path(os.environ.get("PARETO_PROGRAM", "build/pareto")).parent / "plugins"


def reason_of_openblas(folder):
    listed = pareto_json("list", "--op", "sparse", env={"PARETO_PLUGIN_DIR": str(folder)})
    dense = next(v for v in listed["variants"] if v["name"] == "sparse/openblas_dense")
    assert not dense["runnable"]
    return dense["reason"]


def test_a_library_that_is_not_here_is_said_before_anything_runs(tmp_path):
    shutil.copy(PLUGINS / "pareto_openblas.so", tmp_path)
    manifest = json.loads((PLUGINS / "pareto_openblas.json").read_text())
    for variant in manifest["variants"]:
        variant["opens"] = "libpareto_nowhere.so.7"
    write(tmp_path / "pareto_openblas.json", json.dumps(manifest))
    reason = "needs libpareto_nowhere.so.7, which is not on this machine"
    assert reason_of_openblas(tmp_path) == reason
    words = ["time", "sparse", "--variant", "openblas_dense", "--set", "M=1"]
    result = pareto(*words, env={"PARETO_PLUGIN_DIR": str(tmp_path)})
    assert result.returncode == 3, result.stdout + result.stderr
    assert "libpareto_nowhere.so.7" in result.stdout + result.stderr


def test_baselines_name_their_library_and_its_version():
    baselines = [v for v in pareto_json("list")["variants"] if v["library"]]
    assert {"sparse/openblas_dense", "qgemm/onednn_fp32"} <= {v["name"] for v in baselines}
    for baseline in baselines:
        assert not baseline["library"].startswith("pareto_"), baseline
        assert any(c.isdigit() for c in baseline["library"]), baseline


def test_baselines_whose_plugin_is_not_built_are_planned_and_skipped(tmp_path):
    env = {"PARETO_PLUGIN_DIR": str(tmp_path)}
    assert reason_of_openblas(tmp_path) == "its plug-in pareto_openblas.so is not there"
    path = write(
        tmp_path / "threads.toml",
        """[[sweep]]
        op = "sparse"
        variant = ["scalar", "openblas_*", "torch_*"]
        M = 4
        N = 8
        K = 8""",
    )
    planned = pareto("plan", path, "--json", env=env)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    reasons = {skip["variant"]: skip["reason"] for skip in json.loads(planned.stdout)["skipped"]}
    assert reasons["sparse/openblas_dense"] == "its plug-in pareto_openblas.so is not there"
    assert reasons["sparse/torch_csr"].endswith("'make peers' builds it")
    timed = pareto("time", "sparse", "--variant", "openblas_dense", "--set", "M=1", env=env)
    assert timed.returncode == 3, timed.stdout + timed.stderr
    assert "pareto_openblas.so is not there" in timed.stdout + timed.stderr


def test_what_a_plugin_itself_needs_is_looked_for_too(tmp_path):
    shutil.copy(PLUGINS / "pareto_openblas.json", tmp_path)
    plugin = (PLUGINS / "pareto_openblas.so").read_bytes()
    assert b"libfmt.so." in plugin
    (tmp_path / "pareto_openblas.so").write_bytes(plugin.replace(b"libfmt.so.", b"libfmx.so."))
    assert reason_of_openblas(tmp_path).startswith("needs libfmx.so.")


def test_types_that_a_library_lacks_on_this_processor_leave_the_others_measured():
    words = ["--set", "dtype=bf16", "seq_q=4", "seq_kv=4", "--budget", "0.01"]
    avx2 = {"DNNL_MAX_CPU_ISA": "AVX2"}
    result = pareto("time", "attention", "--variant", "scalar,onednn_unfused", *words, env=avx2)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "has no kernel for these types on this processor" in result.stdout
    alone = pareto("time", "attention", "--variant", "onednn_unfused", *words, env=avx2)
    assert alone.returncode == 3, alone.stdout + alone.stderr


def test_doubles_that_no_float_holds_are_refused(tmp_path):
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.array([[1, 1e300]])
        file["w"] = np.ones((2, 2))
    result = pareto(
        "eval", "qgemm", "--variant", "scalar", "--in", path, "--out", tmp_path / "o.h5"
    )
    one_line(result, 2, "wide.h5", "x", "element 1", "1e+300", "overflows fp32")
