"""What the figures show, from tables made by hand."""

import h5py
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from pareto import style, tables
from pareto.bars import problems
from pareto.drawing import CONDITIONS, NoData, biggest_problem, largest_of_the_rest
from pareto.figures import KINDS
from pareto.labels import ARITHMETIC, COMPRESSION, SIZES, arithmetics, bigger_is_better, problem
from pareto.plot import draw, matching
from program import pareto, pareto_json, write

matplotlib.use("Agg")

CEILINGS = {"read_dram": {1: 3e10, 2: 5e10}, "fma_fp32": {1: 2e11, 2: 4e11}}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(**columns):
    """One row per combination of the lists, with the columns that every figure reads."""
    names = list(columns)
    grid = pd.MultiIndex.from_product(columns.values(), names=names).to_frame(index=False)
    defaults = {
        "op": "sparse",
        "machine": "here",
        "baseline": grid["variant"].str.contains("dense"),
        "suspect": False,
        "check_status": "pass",
        "threads": 2,
        "cache": "warm",
        "distribution": "normal",
        "flops": 1e9,
        "bytes": 1e7,
        "ceiling_fraction": 0.5,
        "total_rel_fro": 1e-3,
        "time_median_s": np.linspace(1e-3, 2e-3, len(grid)),
    }
    for name, value in defaults.items():
        if name not in grid:
            grid[name] = value
    grid["time_lo_s"] = 0.99 * grid["time_median_s"]
    grid["time_hi_s"] = 1.01 * grid["time_median_s"]
    grid["flops_per_s"] = grid["flops"] / grid["time_median_s"]
    grid["bytes_per_s"] = grid["bytes"] / grid["time_median_s"]
    inside = ("variant", "scheme", "method", "format", "dtype", "kv_dtype", "machine")
    varying = [n for n in names if n not in inside]
    grid["group"] = grid[varying].map(str).agg(" ".join, axis=1) if varying else "one"
    grid.attrs["ceilings"] = CEILINGS
    return grid


def sparse_table():
    return table(
        variant=["avx512_bitmap", "openblas_dense"],
        format=["csr"],
        dtype=["fp32", "bf16"],
        M=[16, 128],
        N=[512],
        K=[512],
        sparsity=[0.5, 0.7, 0.9],
    )


def test_where_takes_a_value_or_one_of_several():
    cases = sparse_table()
    assert set(matching(cases, {"M": 16})["M"]) == {16}
    assert set(matching(cases, {"sparsity": [0.5, 0.9]})["sparsity"]) == {0.5, 0.9}
    with pytest.raises(ValueError, match="no column 'Q'"):
        matching(cases, {"Q": 1})


def test_lines_show_one_problem():
    left = largest_of_the_rest(sparse_table(), "sparsity")
    assert set(left["M"]) == {128}
    assert left["sparsity"].nunique() == 3


def test_sizes_that_go_along_with_x_stay():
    cases = table(variant=["mine"], dtype=["fp32"], seq_q=[64, 128])
    cases["seq_kv"] = cases["seq_q"]
    assert largest_of_the_rest(cases, "seq_q")["seq_q"].nunique() == 2


def test_crossover_divides_by_the_fastest_dense_variant():
    cases = matching(sparse_table(), {"dtype": "fp32", "M": 128})
    figure = KINDS["crossover"](cases, {}, "f")
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    sparse = cases[cases["variant"] == "avx512_bitmap"].sort_values("sparsity")
    dense = cases[cases["variant"] == "openblas_dense"].sort_values("sparsity")
    want = dense["time_median_s"].to_numpy() / sparse["time_median_s"].to_numpy()
    np.testing.assert_allclose(drawn["avx512_bitmap csr fp32"], want)


def test_scaling_dashes_baselines_and_draws_the_ceiling(tmp_path):
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], threads=[1, 2], M=[16])
    figure = KINDS["scaling"](
        cases, {"x": "threads", "y": "bytes_per_s", "ceiling": "read_dram"}, "f"
    )
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["openblas_dense fp32"].get_linestyle() == "--"
    assert lines["mine fp32"].get_linestyle() == "-"
    ceiling = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(ceiling[0].get_ydata(), [3e10, 5e10])
    assert all(path.stat().st_size > 0 for path in style.save(figure, tmp_path, "scaling"))


def test_failed_cases_are_hollow():
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], M=[16, 32])
    cases.loc[cases["variant"] == "mine", "check_status"] = "fail"
    figure = KINDS["scaling"](cases, {"x": "M"}, "f")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["mine fp32"].get_markerfacecolor() == "none"


def test_a_point_that_failed_is_hollow_on_a_sound_line():
    cases = table(variant=["mine"], dtype=["fp32"], M=[16, 32, 64])
    cases.loc[cases["M"] == 32, "check_status"] = "untrusted"
    lines = KINDS["scaling"](cases, {"x": "M"}, "f").axes[0].lines
    (line,) = (line for line in lines if line.get_label() == "mine fp32")
    assert line.get_markerfacecolor() != "none"
    (point,) = (other for other in lines if other.get_markerfacecolor() == "white")
    assert list(point.get_xdata()) == [32]


def test_a_failed_baseline_that_others_are_measured_by_is_named():
    cases = table(variant=["fast_dense", "slow_dense", "mine"], dtype=["fp32"], sparsity=[0.5, 0.9])
    cases["time_median_s"] = cases["variant"].map({"fast_dense": 1, "slow_dense": 4, "mine": 2})
    cases.loc[cases["variant"] == "fast_dense", "check_status"] = "fail"
    for axes in KINDS["bars"](cases, {}, "f").axes:
        assert sorted(bar.get_width() for bar in axes.patches) == [0.25, 0.5, 1]
        assert "fast_dense not verified" in axes.get_title(loc="right")
    assert (
        KINDS["crossover"](cases, {}, "f")
        .axes[0]
        .get_ylabel()
        .endswith("fast_dense (not verified)")
    )
    cases["check_status"] = "pass"
    for kind in ("bars", "crossover"):
        axes = KINDS[kind](cases, {}, "f").axes[0]
        assert "not verified" not in axes.get_title(loc="right") + axes.get_ylabel()


def test_crossover_names_one_denominator_only_if_it_is_one():
    cases = table(variant=["a_dense", "b_dense", "mine"], dtype=["fp32"], sparsity=[0.5, 0.9])
    cases["time_median_s"] = [1.0, 3, 2, 2, 4, 4]
    label = KINDS["crossover"](cases, {}, "f").axes[0].get_ylabel()
    assert label == "speed-up over the fastest dense variant"


def test_what_is_left_out_is_said():
    cases = table(variant=[f"v{i}" for i in range(20)], dtype=["fp32"], M=range(1, 11))
    figure = KINDS["bars"](cases, {}, "f")
    assert len(figure.axes) == 8 and "2 more problems not drawn" in figure.get_supxlabel()
    assert all("4 slower not drawn" in axes.get_title(loc="right") for axes in figure.axes)
    column = KINDS["bars"](cases[cases["M"] == 1], {"y": "total_rel_fro"}, "f")
    assert len(column.axes[0].patches) == 20


def test_conditions_that_differ_are_in_titles_and_tables():
    cases = table(
        variant=["mine", "other"],
        dtype=["fp32"],
        M=[16],
        distribution=["normal", "outlier"],
        bias=["none", "present"],
        threads=[1, 2],
    )
    figure = KINDS["bars"](cases, {}, "f")
    titles = [axes.get_title(loc="right") for axes in figure.axes]
    assert len(titles) == len(set(titles)) == 8
    assert any("outlier" in title and "bias=present" in title for title in titles)
    lines = [line for line in tables.latex(cases).splitlines() if "mine" in line]
    problems_named = [line.split(" & ")[1] for line in lines]
    assert len(problems_named) == len(set(problems_named)) == 8


def test_ceilings_are_those_of_the_run_that_is_drawn():
    cases = table(variant=["mine"], dtype=["fp32"], threads=[1, 2], machine=["there"])
    other = {"read_dram": {1: 7e10, 2: 9e10}}
    cases.attrs["ceilings_of_run"] = [CEILINGS, other]
    cases["provenance_index"] = 1
    figure = KINDS["scaling"](cases, {"x": "threads", "ceiling": "read_dram"}, "f")
    (line,) = (
        line
        for line in figure.axes[0].lines
        if line.get_linestyle() == ":" and len(line.get_ydata())
    )
    np.testing.assert_allclose(line.get_ydata(), [7e10, 9e10])


def test_a_roofline_is_of_one_machine():
    cases = table(variant=["mine", "other"], dtype=["fp32"], M=[16], machine=["here", "there"])
    cases = cases[(cases["variant"] == "mine") | (cases["machine"] == "there")]
    figure = KINDS["roofline"](cases, {}, "f")
    assert "there" in figure.get_suptitle() and "here" not in figure.get_suptitle().split(", ")
    points = sum(
        len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() != "None"
    )
    assert points == 2


def test_bars_of_a_column_need_no_baseline():
    cases = table(variant=["mine", "other"], dtype=["fp32"], M=[16])
    assert KINDS["bars"](cases, {"y": "total_rel_fro"}, "f") is not None


def test_bars_have_a_panel_per_problem_and_a_scale_each():
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], M=[16, 128])
    cases.loc[cases["M"] == 128, "flops"] = 2e9
    figure = KINDS["bars"](cases, {}, "f")
    assert [axes.get_title(loc="right").split(", ")[1] for axes in figure.axes] == ["M=16", "M=128"]
    for axes, size in zip(figure.axes, (16, 128), strict=True):
        times = cases[cases["M"] == size].set_index("variant")["time_median_s"]
        fastest = max(bar.get_width() for bar in axes.patches)
        assert fastest == pytest.approx(times["openblas_dense"] / times.min())
    # A baseline too slow to be drawn is still what speeds are relative to.
    few = KINDS["bars"](cases, {"limit": 1}, "f").axes[0]
    assert len(few.patches) == 1
    assert few.patches[0].get_width() > 1
    # A problem of one case is left out beside others that compare something.
    alone = cases[(cases["M"] == 128) | (cases["variant"] == "mine")]
    assert len(KINDS["bars"](alone, {}, "f").axes) == 1


def test_roofline_has_the_ceilings_of_where_the_cases_ran():
    cases = table(variant=["cuda_csr", "cusparse_csr"], dtype=["bf16"], M=[16], threads=[1])
    cases.attrs["ceilings"] = {**CEILINGS, "cuda_read_dram": {1: 4e12}, "cuda_fma_fp32": {1: 6e13}}
    texts = {text.get_text() for text in KINDS["roofline"](cases, {}, "f").axes[0].texts}
    assert texts == {"GPU DRAM", "fma_fp32"}
    host = table(variant=["avx2_csr"], dtype=["bf16"], M=[16], threads=[1])
    host.attrs["ceilings"] = cases.attrs["ceilings"]
    assert "DRAM" in {t.get_text() for t in KINDS["roofline"](host, {}, "f").axes[0].texts}
    without_vnni = {"fma_fp32": {1: 1e11}, "avx2_int8": {1: 2e11}}
    for ceilings in (without_vnni, {**without_vnni, "vnni_int8": {1: 4e11}}):
        host.attrs["ceilings"] = ceilings
        texts = {text.get_text() for text in KINDS["roofline"](host, {}, "f").axes[0].texts}
        assert ("avx2_int8" in texts) == ("vnni_int8" not in ceilings)
    both = pd.concat([cases, host])
    both.attrs["ceilings"] = cases.attrs["ceilings"]
    figure = KINDS["roofline"](both, {}, "f")
    assert {"DRAM", "GPU DRAM"} <= {t.get_text() for t in figure.axes[0].texts}


def test_titles_merge_equal_sizes():
    row = {"batch": 1, "heads_q": 8, "heads_kv": 8, "seq_q": 64, "seq_kv": 64, "head_dim": 128}
    assert problem(row) == "heads=8 seq=64 d=128"
    assert problem({**row, "seq_q": 1}, ("seq_kv",)) == "heads=8 queries=1 d=128"


def three_points():
    """The fastest and best failed; of the others one is faster, one better."""
    cases = table(variant=["broken", "fast", "good"], dtype=["fp32"], M=[16])
    cases["time_median_s"] = [1e-3, 2e-3, 3e-3]
    cases["total_rel_fro"] = [1e-6, 1e-3, 1e-4]
    cases.loc[cases["variant"] == "broken", "check_status"] = "fail"
    return cases


def frontier_line(cases, **keys):
    """The line of a figure's frontier: x, y."""
    lines = KINDS["frontier"](cases, keys, "f").axes[0].lines
    (line,) = [line for line in lines if line.get_drawstyle().startswith("steps")]
    return list(line.get_xdata()), list(line.get_ydata())


def variants(rows):
    return [row["variant"] for row in rows]


def test_a_failed_point_hides_no_sound_one():
    cases = three_points()
    assert frontier_line(cases) == ([2e-3, 3e-3], [1e-3, 1e-4])
    assert variants(tables.frontier_rows(cases)) == ["fast", "good"]


def test_suspect_rows_are_left_out_of_the_table():
    cases = three_points()
    cases["check_status"] = "pass"
    cases.loc[cases["variant"] == "broken", "suspect"] = True
    assert variants(tables.frontier_rows(cases)) == ["fast", "good"]
    assert "broken" not in tables.latex(cases)


def test_machines_are_not_compared_with_one_another():
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], machine=["a", "b"])
    cases["time_median_s"] = [1e-3, 9e-3, 2e-3, 8e-3]
    assert [(row["machine"], row["variant"]) for row in tables.frontier_rows(cases)] == [
        ("a", "mine"),
        ("b", "openblas_dense"),
    ]
    assert "& a \\\\\n\\addlinespace\n" in tables.latex(cases)
    assert list(biggest_problem(cases)["machine"]) == ["a", "a"]
    assert [list(rows["machine"]) for rows in problems(cases)] == [["a", "a"], ["b", "b"]]
    titles = [axes.get_title(loc="right") for axes in KINDS["bars"](cases, {}, "f").axes]
    assert [title.split(", ")[-1] for title in titles] == ["a", "b"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("window_left", [-1, 128]),
        ("softcap", [0.0, 30.0]),
        ("scale", [0.5, np.nan]),
        ("v", ["given", "none"]),
        ("alibi", ["given", "none"]),
        ("head_dim_v", [64, 128]),
        ("operands", ["float", "s8"]),
        ("input_hash", ["a", "b"]),
        ("machine", ["a", "b"]),
    ],
)
def test_a_line_is_of_one_problem(column, values):
    cases = table(variant=["mine"], dtype=["fp32"], **{column: values}, M=[16, 32])
    figure = KINDS["scaling"](cases, {"x": "M", "y": "time_median_s"}, "f")
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "mine fp32"]
    # Of equally common values the first.
    np.testing.assert_allclose(line.get_ydata(), cases["time_median_s"].head(2))


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("dtype", ["bf16", "fp16"], ["mine w8a8 bf16", "mine w8a8 fp16"]),
        ("method", ["rtn", "gptq"], ["mine w8a8 gptq", "mine w8a8 rtn"]),
        ("rank", [16, 64], ["mine w8a8 rank=16", "mine w8a8 rank=64"]),
        ("kv_dtype", ["same"], ["mine w8a8"]),
    ],
)
def test_lines_are_named_by_what_they_differ_in(column, values, names):
    cases = table(op=["qgemm"], variant=["mine"], scheme=["w8a8"], M=[16, 32], **{column: values})
    figure = KINDS["scaling"](cases, {"x": "M"}, "f")
    assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == names
    assert sorted("mine " + name for name in arithmetics(cases).unique()) == names


def test_lines_may_be_named_by_a_condition():
    cases = table(
        variant=["mine"], dtype=["fp32"], threads=[1, 2], mask=["none", "causal"], M=[1, 2]
    )
    for by, names in (("threads", ["1", "2"]), ("mask", ["causal", "none"])):
        figure = KINDS["scaling"](cases, {"x": "M", "by": by}, "f")
        assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == names


def test_every_key_of_every_op_keeps_lines_apart():
    known = {*SIZES, *CONDITIONS, *ARITHMETIC, *COMPRESSION}
    for op in pareto_json("list", "--verbose")["ops"]:
        assert {key["name"] for key in op["keys"]} <= known


def test_better_may_be_more():
    better = ["flops_per_s", "total_sqnr_db", "kernel_cosine", "ceiling_fraction"]
    assert all(map(bigger_is_better, better))
    assert not any(map(bigger_is_better, ["time_median_s", "total_rel_fro", "energy_j"]))
    cases = three_points()
    cases["flops_per_s"] = 1e9 / cases["time_median_s"]
    cases["total_sqnr_db"] = -20 * np.log10(cases["total_rel_fro"])
    assert frontier_line(cases, y="total_sqnr_db") == ([2e-3, 3e-3], pytest.approx([60, 80]))
    x, y = frontier_line(cases, x="flops_per_s", y="total_sqnr_db")
    assert x == pytest.approx([1e9 / 3e-3, 1e9 / 2e-3])
    assert y == pytest.approx([80, 60])


@pytest.mark.parametrize(
    ("y", "kept"), [("ceiling_fraction", "high"), ("total_sqnr_db", "high"), ("total_rms", "low")]
)
def test_the_best_are_kept_where_room_is_short(y, kept):
    cases = table(variant=["low", "high"], dtype=["fp32"], M=[16, 32])
    cases[y] = np.where(cases["variant"] == "high", 0.9, 0.1)
    lines = KINDS["scaling"](cases, {"x": "M", "y": y, "limit": 1}, "f").legends[0].get_texts()
    assert [line.get_text() for line in lines] == [f"{kept} fp32"]
    bar = KINDS["bars"](cases, {"y": y, "limit": 1}, "f").axes[0].get_yticklabels()
    assert [name.get_text() for name in bar] == [f"{kept} fp32"]


def result_file(path, cases, experiment):
    """A file that load() reads, like those of pareto merge."""
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = 1
        file["run"] = np.arange(len(cases))
        for name, values in cases.items():
            text = not pd.api.types.is_numeric_dtype(values)
            file[name] = values.astype(object).to_list() if text else values.to_numpy()
        file["provenance_experiment"] = [experiment]
    return path


def test_figures_of_two_experiments_keep_their_names_apart(tmp_path):
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], M=[16, 32])
    path = result_file(tmp_path / "two.h5", cases, "")
    with h5py.File(path, "a") as file:
        del file["provenance_experiment"]
        speed = '[figure.speed]\nkind = "bars"\n'
        lines = '[figure.speed]\nkind = "scaling"\nx = "M"\n'
        file["provenance_experiment"] = [speed, lines, speed]
    names = [path.name for path in draw(path, tmp_path / "out")]
    assert names == ["speed.pdf", "speed.png", "speed_2.pdf", "speed_2.png"]


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", ".hidden"])
def test_a_figure_stays_in_its_folder(name, tmp_path):
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], M=[16])
    path = result_file(tmp_path / "r.h5", cases, f'[figure."{name}"]\nkind = "bars"\n')
    with pytest.raises(ValueError, match="a name is of letters"):
        draw(path, tmp_path / "figures")
    experiment = write(
        tmp_path / "e.toml",
        f'[[sweep]]\nop = "qgemm"\nvariant = "scalar"\n[figure."{name}"]\nkind = "bars"\n',
    )
    planned = pareto("plan", experiment)
    assert planned.returncode == 2 and "a name is of letters" in planned.stderr


WITHOUT_DATA = {
    "bars": ('kind = "bars"\ny = "energy_j"', "'energy_j'"),
    "frontier": ('kind = "frontier"\nx = "energy_j"', "'energy_j'"),
    "ecdf": ('kind = "ecdf"\nx = "energy_j"', "'energy_j'"),
    "missing": ('kind = "frontier"\nx = "rank"', "'rank'"),
    "crossover": ('kind = "crossover"\nx = "rank"', "'rank'"),
    "lines": ('kind = "scaling"\nx = "N"', "'N'"),
    "where": ('kind = "roofline"\nwhere = { M = 7 }', "M = 7"),
    "table": ('kind = "table"\nwhere = { variant = "no" }', "variant = 'no'"),
    "op": ('kind = "bars"\nop = "qgemm"', "'qgemm'"),
}


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_a_figure_without_data_is_one_line_and_the_others_are_drawn(name, tmp_path, capsys):
    keys, named = WITHOUT_DATA[name]
    cases = table(variant=["mine", "openblas_dense"], dtype=["fp32"], M=[16, 32], N=[8])
    cases["energy_j"] = np.nan
    path = tmp_path / "results.h5"
    result_file(path, cases, f'[figure.{name}]\n{keys}\n[figure.others]\nkind = "bars"\n')
    with h5py.File(path, "a") as file:
        file["rank"] = np.full(len(cases), -(2**63))
        file["rank"].attrs["_FillValue"] = np.int64(-(2**63))
    written = draw(path, tmp_path)
    assert [path.name for path in written] == ["others.pdf", "others.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"figure.{name}: not drawn: ") and named in line


def test_nothing_measured_makes_no_figure():
    cases = sparse_table()
    cases["time_median_s"] = np.nan
    for kind in KINDS.values():
        with pytest.raises(NoData, match="time_median_s"):
            kind(cases, {}, "f")
    with pytest.raises(NoData, match="time_median_s"):
        tables.latex(cases)


def test_figures_take_what_is_not_above_zero():
    cases = table(variant=["mine", "other"], dtype=["fp32"], sparsity=[0.0, 0.5], M=[16])
    cases["rank"] = -1
    for keys in ({"x": "rank"}, {"y": "rank"}):
        KINDS["frontier"](cases, keys, "f").canvas.draw()
    KINDS["bars"](cases, {"y": "rank"}, "f").canvas.draw()
    # A logarithmic axis would lose the dense point.
    assert KINDS["scaling"](cases, {"x": "sparsity"}, "f").axes[0].get_xscale() == "linear"
