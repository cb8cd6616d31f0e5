"""One function per kind of figure. Each takes the cases (a table from load()), the figure's keys
from the experiment and a title, and returns a matplotlib figure, or None when no case fits."""

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from pareto import style
from pareto.frontier import on_frontier
from pareto.labels import SIZES, arithmetic, label, problem


def timed(cases):
    """Cases with a time that may be shown: suspect rates are left out."""
    return cases[cases["time_median_s"].notna() & ~cases["suspect"].fillna(False).astype(bool)]


def is_hollow(row):
    """Failed or unverified results are drawn hollow."""
    return row["check_status"] != "pass"


def draw_point(axes, row, x, y, colour, marker, alpha=1.0):
    """A point with its time interval; hollow if its checks failed."""
    axes.plot(
        row[x],
        row[y],
        marker=marker,
        color=colour,
        alpha=alpha,
        linestyle="none",
        markerfacecolor="none" if is_hollow(row) else colour,
    )
    if x == "time_median_s" and np.isfinite(row["time_lo_s"]):
        axes.plot(
            [row["time_lo_s"], row["time_hi_s"]],
            [row[y], row[y]],
            color=colour,
            alpha=alpha,
            linewidth=0.8,
        )


def legend_outside(axes, columns=2):
    handles, names = axes.get_legend_handles_labels()
    if names:
        axes.figure.legend(handles, names, loc="outside lower center", ncols=columns)


def log_axis(axis):
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_formatter(NullFormatter())


def biggest_problem(cases):
    """The cases of the group with the most points: a frontier compares like with like."""
    keys = ["op", "distribution", "threads", "cache", "group"]
    counts = cases.groupby(keys, dropna=False).size()
    return cases[cases["group"] == counts.idxmax()[-1]]


def frontier(cases, keys, title):
    """Time against error of every variant and scheme of one problem; dominated points grey."""
    x, y = keys.get("x", "time_median_s"), keys.get("y", "total_rel_fro")
    cases = timed(cases)
    cases = cases[np.isfinite(cases[y].astype(float))]
    if "group" not in keys and not cases.empty:
        cases = biggest_problem(cases)
    if cases.empty:
        return None
    by = keys.get("by", "variant")
    rows = cases.assign(arithmetic=cases.apply(arithmetic, axis=1)).reset_index(drop=True)
    group_of = rows["arithmetic"] if by in ("scheme", "dtype", "format") else rows[by].astype(str)
    best = on_frontier(rows[x], rows[y]) & (rows["check_status"] == "pass").to_numpy()
    figure, axes = style.new_figure(3.4)
    for _, row in rows[~best].iterrows():
        draw_point(axes, row, x, y, style.GREY, "o", alpha=0.7)
    look = style.appearance(group_of[best].unique())
    for name, (colour, marker) in look.items():
        members = rows[best & (group_of == name)]
        for _, row in members.iterrows():
            draw_point(axes, row, x, y, colour, marker)
        names = ", ".join(sorted(members["variant"] if by != "variant" else members["arithmetic"]))
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=f"{name}: {names}")
    line = rows[best].sort_values(x)
    axes.step(line[x], line[y], where="post", color="black", linewidth=0.6, zorder=0)
    axes.plot([], [], marker="o", color=style.GREY, linestyle="none", label="dominated")
    axes.set_xscale("log")
    if (rows[y] > 0).all():
        axes.set_yscale("log")
    else:
        axes.set_yscale(
            "symlog", linthresh=rows[y][rows[y] > 0].min() if (rows[y] > 0).any() else 1
        )
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(y))
    first = rows.iloc[0]
    axes.set_title(
        f"{first['op']}, {problem(first)}, {first['threads']:g} threads, {first['cache']}",
        fontsize=6.5,
    )
    legend_outside(axes, columns=1)
    return figure


def largest_of_the_rest(cases, x):
    """Cases with the largest value of every size, and of threads, other than x: one problem."""
    for column in [*SIZES, "threads"]:
        if column != x and column in cases and cases[column].notna().any():
            cases = cases[cases[column] == cases[column].max()]
    return cases


def scaling(cases, keys, title):
    """A rate over threads or a size, one line per variant; intervals drawn."""
    x, y = keys.get("x", "threads"), keys.get("y", "flops_per_s")
    by = keys.get("by", "variant")
    cases = timed(cases)
    if x not in cases:
        return None
    cases = largest_of_the_rest(cases[cases[x].notna()], x)
    if cases.empty or cases[x].nunique() < 2:
        return None
    rows = cases.assign(arithmetic=cases.apply(arithmetic, axis=1))
    rows = rows.assign(line=rows[by].astype(str) + " " + rows["arithmetic"])
    figure, axes = style.new_figure(3.2)
    look = style.appearance(rows["line"].unique())
    for name, (colour, marker) in look.items():
        members = rows[rows["line"] == name]
        middle = members.groupby(x)[y].median().sort_index()
        if len(middle) < 2:
            continue
        axes.plot(middle.index, middle.values, marker=marker, color=colour, label=name)
        if y in ("flops_per_s", "bytes_per_s"):
            work = members[y] * members["time_median_s"]
            for (_, row), total in zip(members.iterrows(), work, strict=True):
                if np.isfinite(row["time_lo_s"]):
                    ends = [total / row["time_hi_s"], total / row["time_lo_s"]]
                    axes.plot([row[x], row[x]], ends, color=colour, linewidth=0.8)
    if not axes.lines:
        return None
    if cases[x].max() / max(cases[x].min(), 1e-300) > 8:
        axes.set_xscale("log", base=2)
    if keys.get("log_y", False):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(y))
    legend_outside(axes)
    return figure


def roofline(cases, keys, title):
    """Operations per second over operations per byte, under the ceilings measured in that run."""
    cases = timed(cases)
    cases = cases[(cases["bytes"] > 0) & (cases["flops"] > 0)]
    if cases.empty:
        return None
    figure, axes = style.new_figure(3.2)
    rows = cases.assign(
        intensity=cases["flops"] / cases["bytes"], arithmetic=cases.apply(arithmetic, axis=1)
    )
    draw_ceilings(axes, rows)
    look = style.appearance(rows["variant"].unique())
    for name, (colour, marker) in look.items():
        members = rows[rows["variant"] == name]
        hollow = members.apply(is_hollow, axis=1)
        for part, face in ((members[~hollow], colour), (members[hollow], "none")):
            axes.plot(
                part["intensity"],
                part["flops_per_s"],
                marker=marker,
                color=colour,
                markerfacecolor=face,
                linestyle="none",
                markersize=3,
            )
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte of operands and outputs")
    axes.set_ylabel("operations per second")
    legend_outside(axes)
    return figure


# The widest unit of each kind of arithmetic; narrower ones would crowd the figure.
COMPUTE_CEILINGS = ("fma_fp32", "dot_bf16", "vnni_int8", "amx_bf16", "amx_int8")


def draw_ceilings(axes, rows):
    """Slanted lines: measured bandwidths; flat ones: measured rates of the compute units."""
    ceilings = rows.attrs.get("ceilings") or {}
    threads = int(rows["threads"].max())
    x = np.geomspace(rows["intensity"].min() / 2, rows["intensity"].max() * 2, 64)
    flat = {}
    for name, rates in ceilings.items():
        rate = rates.get(threads)
        if rate is not None and name in COMPUTE_CEILINGS:
            flat[name] = rate
    top = max(flat.values(), default=np.inf)
    for name in ("read_dram", "read_l2"):
        rate = (ceilings.get(name) or {}).get(threads)
        if rate is not None:
            axes.plot(x, np.minimum(rate * x, top), color="#505050", linewidth=0.7, zorder=0)
            axes.annotate(
                name.removeprefix("read_").upper(),
                (x[2], rate * x[2]),
                fontsize=5.5,
                rotation=35,
                va="bottom",
            )
    for name, rate in flat.items():
        axes.axhline(rate, color="#505050", linewidth=0.5, linestyle="--", zorder=0)
        axes.annotate(name, (x[-1], rate), fontsize=5, ha="right", va="bottom")


def bars(cases, keys, title):
    """Speed of every variant relative to the fastest baseline, per problem, with intervals."""
    cases = timed(cases)
    if cases.empty:
        return None
    rows = cases.assign(arithmetic=cases.apply(arithmetic, axis=1))
    rows = rows[rows["group"] == biggest_problem(rows)["group"].iloc[0]]
    baselines = rows[rows["baseline"].fillna(False).astype(bool)]
    reference = baselines if not baselines.empty else rows
    unit = reference["time_median_s"].min()
    rows = rows.sort_values("time_median_s").head(int(keys.get("limit", 16)))
    names = rows["variant"] + " " + rows["arithmetic"]
    figure, axes = style.new_figure(0.9 + 0.15 * len(rows))
    y = np.arange(len(rows))[::-1]
    for position, (_, row) in zip(y, rows.iterrows(), strict=True):
        colour = style.COLOURS[4] if row["baseline"] else style.COLOURS[5]
        axes.barh(
            position,
            unit / row["time_median_s"],
            color="none" if is_hollow(row) else colour,
            edgecolor=colour,
            height=0.7,
        )
        if np.isfinite(row["time_lo_s"]):
            ends = [unit / row["time_hi_s"], unit / row["time_lo_s"]]
            axes.plot(ends, [position, position], color="black", linewidth=0.8)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(y, names, fontsize=6)
    what = "fastest baseline" if not baselines.empty else "fastest variant"
    # Long names leave the axes little room: what belongs to the figure is centred on the figure.
    figure.supxlabel(f"relative speed ({what} = 1)", fontsize=8)
    first = rows.iloc[0]
    figure.suptitle(f"{first['op']}, {problem(first)}", fontsize=6.5)
    axes.grid(axis="y", visible=False)
    return figure


def crossover(cases, keys, title):
    """Speed-up over the dense baseline against sparsity; where a line passes 1 it pays."""
    x = keys.get("x", "sparsity")
    dense_name = keys.get("dense", "dense")
    cases = timed(cases)
    if cases.empty or x not in cases or cases[x].nunique() < 2:
        return None
    dense = cases[cases["variant"].str.contains(dense_name)]
    if dense.empty:
        return None
    fastest = dense.groupby(x)["time_median_s"].min()
    rows = cases.drop(dense.index)
    rows = rows.assign(
        line=rows["variant"] + " " + rows.apply(arithmetic, axis=1),
        speedup=rows[x].map(fastest) / rows["time_median_s"],
    )
    figure, axes = style.new_figure(3.2)
    for name, (colour, marker) in style.appearance(rows["line"].unique()).items():
        middle = rows[rows["line"] == name].groupby(x)["speedup"].median()
        axes.plot(middle.index, middle.values, marker=marker, color=colour, label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlabel(label(x))
    axes.set_ylabel("speed-up over the fastest dense variant")
    legend_outside(axes)
    return figure


def ecdf(cases, keys, title):
    """Distribution of a column over all cases, one step line per variant."""
    x = keys.get("x", "ceiling_fraction")
    by = keys.get("by", "variant")
    cases = timed(cases)
    cases = cases[cases[x].notna()]
    if cases.empty:
        return None
    figure, axes = style.new_figure(3.0)
    for name, (colour, _) in style.appearance(cases[by].astype(str).unique()).items():
        values = np.sort(cases.loc[cases[by].astype(str) == name, x].astype(float))
        share = np.arange(1, len(values) + 1) / len(values)
        axes.step(values, share, where="post", color=colour, label=name)
    axes.set_xlabel(label(x))
    axes.set_ylabel("share of cases")
    axes.set_ylim(0, 1)
    legend_outside(axes)
    return figure


KINDS = {
    "frontier": frontier,
    "scaling": scaling,
    "roofline": roofline,
    "bars": bars,
    "crossover": crossover,
    "ecdf": ecdf,
}
