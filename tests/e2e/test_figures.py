"""What the figures show, from tables made by hand."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from pareto import style
from pareto.drawing import largest_of_the_rest
from pareto.figures import KINDS
from pareto.labels import problem
from pareto.plot import matching

matplotlib.use("Agg")

CEILINGS = {"read_dram": {1: 3e10, 2: 5e10}, "fma_fp32": {1: 2e11, 2: 4e11}}


def table(**columns):
    """One row per combination of the lists, with the columns that every figure reads."""
    names = list(columns)
    grid = pd.MultiIndex.from_product(columns.values(), names=names).to_frame(index=False)
    defaults = {
        "op": "sparse",
        "baseline": grid["variant"].str.contains("dense"),
        "suspect": False,
        "check_status": "pass",
        "threads": 2,
        "cache": "warm",
        "distribution": "normal",
        "flops": 1e9,
        "bytes": 1e7,
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
    varying = [n for n in names if n not in ("variant", "format", "dtype")]
    grid["group"] = grid[varying].astype(str).agg(" ".join, axis=1) if varying else "one"
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
