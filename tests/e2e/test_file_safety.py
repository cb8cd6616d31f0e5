"""Files: inputs are never overwritten, and what cannot be read or written is told in one line."""

import json
import os
import shutil
import subprocess

import h5py
import numpy as np
import pytest
from program import PROGRAM, pareto, pareto_json, write
from test_bad_input import one_line

EXPERIMENT = """[[sweep]]
op = "qgemm"
variant = "scalar"
scheme = "w8a8"
distribution = "file"
file = "tensors.h5"
tensor = ["good", "nan_x", "inf_w"]
[measure]
budget_s = 0.01
min_blocks = 8
precision = 0.5
"""


def write_tensors(path):
    """Three layers, of which w8a8 takes only the first."""
    with h5py.File(path, "w") as file:
        for group in ("good", "nan_x", "inf_w"):
            file[f"{group}/x"] = np.ones((2, 16), np.float32)
            file[f"{group}/w"] = np.ones((4, 16), np.float32)
        file["nan_x/x"][1, 3] = np.nan
        file["inf_w/w"][2, 5] = np.inf


def run_tensors(folder, tensors):
    """A run over these layers; its case files lie in `folder`/cases."""
    write_tensors(folder / "tensors.h5")
    text = EXPERIMENT.replace('["good", "nan_x", "inf_w"]', json.dumps(tensors))
    write(folder / "layers.toml", text)
    return pareto("run", "layers.toml", "-o", "cases", cwd=folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Case files of the sound layer and the result file merged from them."""
    folder = tmp_path_factory.mktemp("measured")
    result = run_tensors(folder, ["good"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert pareto("merge", "cases", "-o", "results.h5", cwd=folder).returncode == 0
    return folder


def matrix_market(path):
    return write(path, "%%MatrixMarket matrix coordinate real general\n3 2 1\n2 1 0.5\n")


def test_eval_overwrites_none_of_its_inputs(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones((2, 2), np.float32)
    before = matrix_market(tmp_path / "w.mtx").read_text()
    os.link(tmp_path / "w.mtx", tmp_path / "second_name.mtx")
    words = ["eval", "sparse", "--variant", "scalar", "--in", "x.h5,w.mtx", "--out"]
    for target in ("w.mtx", "./w.mtx", tmp_path / "w.mtx", "second_name.mtx"):
        one_line(pareto(*words, target, cwd=tmp_path), 2, "--out", "would be overwritten")
    assert (tmp_path / "w.mtx").read_text() == before
    assert pareto(*words, "y.h5", cwd=tmp_path).returncode == 0


def test_export_and_merge_overwrite_none_of_their_inputs(measured, tmp_path):
    place = shutil.copytree(measured, tmp_path / "copy")
    case = next((place / "cases").glob("*.h5"))
    before = case.read_bytes(), (place / "results.h5").read_bytes()
    result = pareto("export", "results.h5", "-o", "./results.h5", cwd=place)
    one_line(result, 2, "results.h5", "would be overwritten")
    result = pareto("merge", "cases", "-o", case, cwd=place)
    one_line(result, 2, case.name, "would be overwritten")
    assert before == (case.read_bytes(), (place / "results.h5").read_bytes())
    assert pareto("merge", "cases", "-o", "cases/all.h5", cwd=place).returncode == 0


def test_repro_refuses_tensors_that_have_changed(measured, tmp_path):
    place = shutil.copytree(measured, tmp_path / "copy")
    case = pareto_json("show", "results.h5", cwd=place)["cases"][0]["case"]
    words = ["repro", "results.h5", case, "--iterations", 5]
    assert pareto(*words, cwd=place).returncode == 0
    with h5py.File(place / "tensors.h5", "a") as file:
        file["good/x"][0, 0] = 2
    one_line(pareto(*words, cwd=place), 2, "tensors.h5:/good", "have changed")
    (place / "tensors.h5").unlink()
    one_line(pareto(*words, cwd=place), 2, "tensors.h5", "No such file")


def test_operands_that_a_scheme_refuses_are_not_called_measured(tmp_path):
    result = run_tensors(tmp_path, ["good", "nan_x", "inf_w"])
    for text in (
        "1 measured, 0 found finished, 2 not measurable",
        "x: element [1, 3]",
        "w: element [2, 5]",
    ):
        assert text in result.stdout, result.stdout
    assert result.returncode == 0, result.stderr
    again = pareto("run", "layers.toml", "-o", "cases", cwd=tmp_path)
    assert "0 measured, 1 found finished, 2 not measurable" in again.stdout


def test_a_run_without_any_result_could_not_run(tmp_path):
    result = run_tensors(tmp_path, ["nan_x"])
    assert result.returncode == 3, result.stdout + result.stderr
    assert "0 measured, 0 found finished, 1 not measurable" in result.stdout
    assert pareto("run", "layers.toml", "-o", "cases", cwd=tmp_path).returncode == 3
    words = ["time", "qgemm", "--variant", "scalar", "--set", "scheme=w8a8", "distribution=file"]
    result = pareto(*words, "file=tensors.h5", "tensor=nan_x", cwd=tmp_path)
    assert result.returncode == 3, result.stdout + result.stderr


def test_pipes_and_devices_are_no_inputs(tmp_path):
    for name in ("pipe.h5", "pipe.mtx", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
        words = ["eval", "sparse", "--variant", "scalar", "--out", "y.h5", "--in", name]
        one_line(pareto(*words, cwd=tmp_path, timeout=60), 2, name, "not a regular file")
    for words in (["show", "pipe.h5"], ["plot", "pipe.h5"], ["export", "/dev/zero"]):
        one_line(pareto(*words, cwd=tmp_path, timeout=60), 2, "not a regular file")


def test_tensors_beyond_memory_are_not_read(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file["x"] = np.ones((2, 4), np.float32)
        file.create_dataset("w", (2**23, 2**22), np.float32, chunks=(1024, 1024))
    words = ["eval", "qgemm", "--variant", "scalar", "--in", "huge.h5", "--out", "y.h5"]
    result = pareto(*words, cwd=tmp_path)
    one_line(result, 4, "huge.h5", "'/w'", str(2**47), "are available")
    with open(tmp_path / "huge.safetensors", "wb") as file:
        file.truncate(2**42)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["x"], file["w"] = np.ones((2**32, 0), np.float32), np.ones((2**32, 0), np.float32)
    for variant in ("scalar", "reference"):
        empty = ["eval", "qgemm", "--variant", variant, "--in", "empty.h5", "--out", "y.h5"]
        one_line(pareto(*empty, cwd=tmp_path), 4, "[4294967296, 4294967296]")
    words[words.index("huge.h5")] = "huge.safetensors"
    one_line(pareto(*words, cwd=tmp_path), 4, "huge.safetensors", str(2**43), "are available")


def test_figures_that_cannot_be_written_are_the_machines_fault(measured, tmp_path):
    (tmp_path / "frontier.pdf").symlink_to("/dev/full")
    for folder, reason in (("/proc/figures", "No such file"), (tmp_path, "No space left")):
        result = pareto("plot", measured / "results.h5", "-o", folder)
        assert result.returncode == 4, result.stderr
        assert reason in result.stderr and str(folder) in result.stderr
        assert "Traceback" not in result.stderr


def test_names_need_not_be_utf8(measured, tmp_path):
    write_tensors(tmp_path / "tensors.h5")
    shutil.copy(measured / "layers.toml", tmp_path)
    folder = os.fsencode(tmp_path) + b"/dir\xff"
    result = subprocess.run(
        [PROGRAM, "run", tmp_path / "layers.toml", "-o", folder],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"], file["w"] = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
        file[b"odd\xff"] = np.ones(1, np.float32)
    words = [PROGRAM, "eval", "qgemm", "--variant", "scalar", "--in", "in.h5", "--out", "y.h5"]
    result = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ignored_datasets"] == ["odd\ufffd"]
