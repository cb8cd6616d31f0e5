"""A merged file opens in every reader, and the verbs over it agree with one another."""

import csv
import io
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pareto as package
import pytest
import xarray
from program import PROGRAM, pareto, pareto_json, write

EXPERIMENT = """title = "Readers"
[[sweep]]
op = "qgemm"
variant = ["scalar"]
scheme = ["fp32", "w8a8"]
M = [1, 3]
N = 16
K = 32
[figure.frontier]
kind = "frontier"
[measure]
budget_s = 0.05
precision = 0.2
min_blocks = 8
"""
CASES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Case files of a small experiment."""
    place = tmp_path_factory.mktemp("results")
    experiment = write(place / "readers.toml", EXPERIMENT)
    result = pareto("run", experiment, "-o", place / "cases", cwd=place)
    assert result.returncode == 0, result.stdout + result.stderr
    return place


@pytest.fixture(scope="module")
def merged(folder):
    path = folder / "merged.h5"
    result = pareto("merge", folder / "cases", "-o", path)
    assert result.returncode == 0, result.stderr
    return path


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
def test_xarray_opens_it_without_a_warning(merged, engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xarray.open_dataset(merged, engine=engine) as data:
            data.load()
            assert data.sizes["run"] == CASES
            assert set(data["scheme"].values) == {"fp32", "w8a8"}
            assert data["time_median_s"].attrs["units"] == "s"
            assert data["M"].dtype == np.int64
            assert data["suspect"].dtype == bool
            assert int(data["row_size"].sum()) == data.sizes["sample"]
            assert data["row_size"].attrs["sample_dimension"] == "sample"
            assert data.attrs["schema_version"] == 1
            assert data["provenance_experiment"].values[0] == EXPERIMENT


def test_a_key_of_another_op_is_missing(merged):
    with xarray.open_dataset(merged, engine="h5netcdf") as data:
        assert np.isnan(data["seq_q"].values).all()
        assert set(data["mask"].values) == {""}


def test_h5py_reads_every_dataset_with_its_scale(merged):
    with h5py.File(merged) as file:
        for name, dataset in file.items():
            if dataset.is_scale:
                continue
            assert dataset.dims[0].keys() or list(dataset.dims[0]), name
            assert dataset.attrs["long_name"], name
            assert dataset[()].shape == dataset.shape


@pytest.mark.parametrize("tool", ["ncdump", "h5dump"])
def test_dump_tools_read_it(merged, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    result = subprocess.run([tool, merged], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "time_median_s" in result.stdout
    assert "w8a8" in result.stdout


def test_samples_reproduce_the_median(merged):
    with h5py.File(merged) as file:
        ends = np.cumsum(file["row_size"])
        for row, end in enumerate(ends):
            begin = end - file["row_size"][row]
            seconds = file["sample_time_s"][begin:end]
            blocks = file["sample_block"][begin:end]
            medians = [np.median(seconds[blocks == block]) for block in np.unique(blocks)]
            assert np.median(medians) == pytest.approx(file["time_median_s"][row], rel=1e-12)


def test_repro_repeats_each_case(merged):
    for case in pareto_json("show", merged)["cases"]:
        result = pareto("repro", merged, case["case"], "--iterations", 10)
        assert result.returncode == 0, result.stderr
        assert "scalar" in result.stdout
        assert "note:" not in result.stderr, "another hash: not the same case"


def test_repro_names_a_column_that_is_not_there(merged, tmp_path):
    path = shutil.copy(merged, tmp_path / "other.h5")
    case = pareto_json("show", merged)["cases"][0]["case"]
    with h5py.File(path, "a") as file:
        del file["op"]
    result = pareto("repro", path, case)
    assert result.returncode == 2, result.stderr
    assert f"{path}: case '{case}': column 'op' is missing" in result.stderr


def test_show_export_and_file_agree(merged):
    shown = pareto_json("show", merged)["cases"]
    exported = json.loads(pareto("export", merged, "--format", "json").stdout)["cases"]
    table = list(csv.DictReader(io.StringIO(pareto("export", merged, "--format", "csv").stdout)))
    with h5py.File(merged) as file:
        medians = dict(zip(file["case"].asstr()[()], file["time_median_s"][()], strict=True))
    assert len(shown) == len(exported) == len(table) == CASES
    for case, flat, cells in zip(shown, exported, table, strict=True):
        assert case["time_median_s"] == medians[case["case"]]
        assert {key: case[key] for key in flat} == flat
        assert float(cells["time_median_s"]) == case["time_median_s"]
        assert case["energy_j"] is None and cells["energy_j"] == ""


def test_frontier_holds_whoever_is_not_beaten(merged):
    for case in (cases := pareto_json("show", merged)["cases"]):
        rivals = [other for other in cases if other["group"] == case["group"]]
        beaten = any(
            other["time_median_s"] <= case["time_median_s"]
            and other["total_rel_fro"] <= case["total_rel_fro"]
            and other["case"] != case["case"]
            for other in rivals
        )
        assert case["frontier"] == (not beaten)
    only = pareto_json("show", merged, "--frontier")["cases"]
    assert only == [case for case in cases if case["frontier"]]


def test_show_names_the_group_and_marks_the_frontier(merged):
    text = pareto("show", merged).stdout
    assert "qgemm" in text and "M=3 N=16 K=32" in text
    assert any(line.startswith("*") for line in text.splitlines())


def test_merging_again_gives_the_same_bytes(folder, merged):
    again = folder / "again.h5"
    assert pareto("merge", folder / "cases", "-o", again).returncode == 0
    assert again.read_bytes() == merged.read_bytes()


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(folder, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    for size in ("merged.h5", "again.h5"):
        result = subprocess.run(
            [PROGRAM, "merge", folder / "cases", "-o", tmp_path / size],
            capture_output=True,
            text=True,
            preexec_fn=limit,
            check=False,
        )
        assert result.returncode == 4, (result.returncode, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list(tmp_path.iterdir())


def test_damaged_case_files_are_named(folder, tmp_path):
    copy = tmp_path / "cases"
    shutil.copytree(folder / "cases", copy)
    victim = sorted(copy.glob("*.h5"))[0]
    victim.write_bytes(victim.read_bytes()[:2000])
    result = pareto("merge", copy, "-o", tmp_path / "out.h5")
    assert result.returncode == 2
    assert str(victim) in result.stderr and "truncated" in result.stderr
    assert not (tmp_path / "out.h5").exists()
    result = pareto("merge", copy, "-o", tmp_path / "out.h5", "--skip-damaged")
    assert result.returncode == 0 and str(victim) in result.stderr
    assert len(pareto_json("show", tmp_path / "out.h5")["cases"]) == CASES - 1


def test_two_goes_on_one_machine_conflict_until_told(folder, tmp_path):
    result = pareto("run", folder / "readers.toml", "-o", tmp_path / "second", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folders = [folder / "cases", tmp_path / "second"]
    result = pareto("merge", *folders, "-o", tmp_path / "out.h5")
    assert result.returncode == 2 and "--keep newest" in result.stderr
    result = pareto("merge", *folders, "-o", tmp_path / "out.h5", "--keep", "newest")
    assert result.returncode == 0, result.stderr
    times = {case["finished_at"] for case in pareto_json("show", tmp_path / "out.h5")["cases"]}
    newest = {
        case["finished_at"]
        for case in pareto_json("show", merge_one(tmp_path / "second", tmp_path))["cases"]
    }
    assert times == newest


def merge_one(cases, place):
    path = place / "one.h5"
    assert pareto("merge", cases, "-o", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def five_processes(folder):
    """The same experiment in as many processes as a comparison of two files asks for."""
    cases = folder / "five"
    words = ["run", folder / "readers.toml", "--processes", "5", "-o", cases]
    result = pareto(*words, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    path = folder / "five.h5"
    assert pareto("merge", cases, "-o", path).returncode == 0
    # Times of our own, a thousandth apart: how noisy this machine is decides nothing.
    with h5py.File(path, "r+") as file:
        count = len(file["sample_time_s"])
        file["sample_time_s"][...] = 1e-3 * (1 + 1e-3 * (np.arange(count) % 7))
    return path


def changed(path, to, column, change):
    shutil.copy(path, to)
    with h5py.File(to, "r+") as file:
        file[column][...] = change(file[column][()])
    return to


def compared(first, second):
    result = pareto("compare", first, second, "--json")
    return result.returncode, json.loads(result.stdout)


def test_several_processes_are_told_apart(five_processes):
    with h5py.File(five_processes) as file:
        assert set(file["processes"][()]) == {5}
        assert set(file["sample_process"][()]) == set(range(5))


def test_a_file_is_the_same_as_itself(five_processes):
    status, found = compared(five_processes, five_processes)
    assert status == 0
    assert len(found["pairs"]) == CASES
    for pair in found["pairs"]:
        assert (pair["verdict"], pair["count"]) == ("SAME", 5), pair
        assert math.isclose(pair["ratio"], 1.0)


def test_three_times_the_time_is_slower(five_processes, tmp_path):
    slow = changed(five_processes, tmp_path / "slow.h5", "sample_time_s", lambda t: 3 * t)
    status, found = compared(five_processes, slow)
    assert status == 1
    for pair in found["pairs"]:
        assert pair["verdict"] == "SLOWER" and math.isclose(pair["ratio"], 1 / 3), pair


def test_a_check_that_is_no_longer_trusted_is_a_regression(five_processes, tmp_path):
    def distrust(status):
        status[0] = b"untrusted"
        return status

    other = changed(five_processes, tmp_path / "other.h5", "check_status", distrust)
    status, found = compared(five_processes, other)
    assert status == 1
    assert [pair["check_regressed"] for pair in found["pairs"]].count(True) == 1
    assert compared(other, five_processes)[0] == 0


def test_cases_that_only_one_file_has_are_named(folder, five_processes, tmp_path):
    shutil.copytree(folder / "five", tmp_path / "cases")
    gone = sorted((tmp_path / "cases").rglob("*.h5"))[0]
    gone.unlink()
    few = merge_one(tmp_path / "cases", tmp_path)
    status, found = compared(five_processes, few)
    assert status == 0
    assert len(found["pairs"]) == CASES - 1
    assert len(found["only_first"]) == 1 and found["only_second"] == []
    assert found["only_first"][0] in pareto("compare", five_processes, few).stdout
    assert compared(few, five_processes)[1]["only_second"] == found["only_first"]


def relabel_machine(path, machine):
    with h5py.File(path, "r+") as file:
        file["machine"][...] = np.array([machine] * len(file["machine"]), dtype=object)


def test_unlike_machines_are_refused_unless_named(merged, tmp_path):
    other = tmp_path / "other.h5"
    shutil.copy(merged, other)
    relabel_machine(other, "elsewhere")
    here = pareto_json("show", merged)["cases"][0]["machine"]
    result = pareto("compare", merged, other)
    assert result.returncode == 2 and "unlike machines" in result.stderr
    result = pareto("compare", merged, other, "--machines", f"{here},elsewhere")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--variants", "scalar,scalra"], ["'scalra'", "'scalar'"]),
        (["--variants", "scalar"], ["A,B"]),
        ([], ["--variants"]),
    ],
)
def test_compare_says_what_is_wrong(merged, words, parts):
    result = pareto("compare", merged, *words)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for part in parts:
        assert part in result.stderr


def test_another_schema_version_is_refused(merged, tmp_path):
    other = tmp_path / "seven.h5"
    shutil.copy(merged, other)
    with h5py.File(other, "r+") as file:
        file.attrs["schema_version"] = 7
    for words in (["show"], ["export"], ["compare", "--variants", "a,b"], ["plot"]):
        result = pareto(words[0], other, *words[1:])
        assert result.returncode == 2
        assert result.stderr.strip() == f"pareto: {other}: schema version 7; this program reads 1"


def test_load_gives_a_tidy_table(merged):
    table = package.load(merged)
    assert len(table) == CASES and table["case"].is_unique
    assert set(table["M"]) == {1, 3} and not table["suspect"].any()
    assert table["seq_q"].isna().all()
    assert table.attrs["experiments"] == [EXPERIMENT]
    assert all(rate > 0 for rate in table.attrs["ceilings"]["read_dram"].values())
    samples = package.load_samples(merged)
    assert samples.groupby("case").size().to_dict() == table.set_index("case")["samples"].to_dict()


def test_load_refuses_another_schema_version(merged, tmp_path):
    other = tmp_path / "seven.h5"
    shutil.copy(merged, other)
    with h5py.File(other, "r+") as file:
        file.attrs["schema_version"] = 7
    with pytest.raises(ValueError, match="schema version 7"):
        package.load(other)


def test_plot_draws_what_the_experiment_asks_for(merged, tmp_path):
    result = pareto("plot", merged, "-o", tmp_path, env={"PARETO_PYTHON": sys.executable})
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "frontier.pdf").read_bytes().startswith(b"%PDF")
    assert str(tmp_path / "frontier.pdf") in result.stdout


def test_plot_names_a_python_that_is_not_there(merged, tmp_path):
    result = pareto("plot", merged, "-o", tmp_path, env={"PARETO_PYTHON": "/no/python"})
    assert result.returncode == 2
    assert "/no/python" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_plot_names_a_column_that_is_not_there(merged, tmp_path):
    path = shutil.copy(merged, tmp_path / "other.h5")
    with h5py.File(path, "a") as file:
        texts = file["provenance_experiment"]
        texts[0] = texts.asstr()[0].replace('"frontier"\n', '"frontier"\nx = "foo"\n')
    result = pareto("plot", path, "-o", tmp_path / "figures")
    assert result.returncode == 2, result.stderr
    assert "figure.frontier: x: no column 'foo'" in result.stderr
    assert "Traceback" not in result.stderr
