"""The roofline: operations per second over operations per byte, under the measured ceilings."""

import numpy as np

from pareto import style
from pareto.drawing import is_hollow, legend_outside, log_axis, timed

# The widest unit of each kind of arithmetic; narrower ones would crowd the figure.
COMPUTE_CEILINGS = ("fma_fp32", "dot_bf16", "vnni_int8", "amx_bf16", "amx_int8")
LINE = {"color": "#505050", "zorder": 0}


def draw_ceilings(axes, rows):
    """Slanted lines: measured bandwidths; flat ones: measured rates of the compute units."""
    ceilings = rows.attrs.get("ceilings") or {}
    threads = int(rows["threads"].max())
    x = np.geomspace(rows["intensity"].min() / 2, rows["intensity"].max() * 2, 64)
    flat = {
        name: rates[threads]
        for name, rates in ceilings.items()
        if name in COMPUTE_CEILINGS and threads in rates
    }
    top = max(flat.values(), default=np.inf)
    for name in ("read_dram", "read_l2"):
        rate = (ceilings.get(name) or {}).get(threads)
        if rate is not None:
            axes.plot(x, np.minimum(rate * x, top), linewidth=0.7, **LINE)
            place = (x[2], rate * x[2])
            name = name.removeprefix("read_").upper()
            axes.annotate(name, place, fontsize=5.5, rotation=35, va="bottom")
    for name, rate in flat.items():
        axes.axhline(rate, linewidth=0.5, linestyle="--", **LINE)
        axes.annotate(name, (x[-1], rate), fontsize=5, ha="right", va="bottom")


def describe(rows):
    """Which cases the figure shows: they need not share a problem."""
    counts = sorted(rows["threads"].unique())
    threads = ", ".join(f"{count:g}" for count in counts)
    words = [*sorted(rows["op"].unique()), f"threads: {threads}"]
    if len(counts) > 1:
        words.append(f"ceilings of {counts[-1]:g}")
    return ", ".join([*words, *sorted(rows["cache"].unique())])


def roofline(cases, keys, title):
    """Operations per second over operations per byte, under the ceilings measured in that run."""
    attrs = cases.attrs
    cases = timed(cases)
    cases = cases[(cases["bytes"] > 0) & (cases["flops"] > 0)]
    if cases.empty:
        return None
    figure, axes = style.new_figure(3.4)
    rows = cases.assign(intensity=cases["flops"] / cases["bytes"])
    rows.attrs = attrs
    draw_ceilings(axes, rows)
    for name, (colour, marker) in style.appearance(rows["variant"].unique()).items():
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
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_xlabel("operations per byte of operands and outputs")
    axes.set_ylabel("operations per second")
    figure.suptitle(describe(rows), fontsize=6.5)
    legend_outside(axes)
    return figure
