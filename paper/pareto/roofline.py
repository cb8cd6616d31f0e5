"""The roofline: operations per second over operations per byte, under the measured ceilings."""

import numpy as np

from pareto import style
from pareto.drawing import (
    NoData,
    ceilings_of,
    commonest,
    drawable,
    is_hollow,
    legend_outside,
    log_axis,
    runs_on_device,
)

# The widest unit of each kind of arithmetic, and one of those that are equally fast on a GPU;
# further ones would crowd the figure.
HOST_UNITS = ("fma_fp32", "dot_bf16", "vnni_int8", "amx_bf16", "amx_int8")
# Where there is no VNNI.
AVX2_UNITS = ("avx2_int8", "avx2_int4")
DEVICE_UNITS = ("cuda_fma_fp32", "cuda_tensor_tf32", "cuda_tensor_bf16", "cuda_tensor_int8")
LINE = {"color": "#505050", "zorder": 0}


def draw_ceilings(axes, rows):
    """The ceilings of the processor, of the GPU, or of both, as the cases ran on them."""
    on_device = rows["variant"].map(runs_on_device)
    threads = int(rows["threads"].max())
    if not on_device.all():
        has_vnni = "vnni_int8" in ceilings_of(rows)
        units = HOST_UNITS if has_vnni else HOST_UNITS + AVX2_UNITS
        draw_ceilings_of(axes, rows, units, ("read_dram", "read_l2"), threads)
    if on_device.any():  # whatever starts a kernel has one thread
        draw_ceilings_of(axes, rows, DEVICE_UNITS, ("cuda_read_dram", "cuda_read_l2"), 1)


def draw_ceilings_of(axes, rows, units, bandwidths, threads):
    """Slanted lines: measured bandwidths; flat ones: measured rates of the compute units."""
    ceilings = ceilings_of(rows)
    x = np.geomspace(rows["intensity"].min() / 2, rows["intensity"].max() * 2, 64)
    flat = {
        name: rates[threads]
        for name, rates in ceilings.items()
        if name in units and threads in rates
    }
    top = max(flat.values(), default=np.inf)
    for name in bandwidths:
        rate = (ceilings.get(name) or {}).get(threads)
        if rate is not None:
            axes.plot(x, np.minimum(rate * x, top), linewidth=0.7, **LINE)
            place = (x[2], rate * x[2])
            name = name.replace("cuda_read_", "GPU ").replace("read_", "")
            axes.annotate(name.upper(), place, fontsize=5.5, rotation=35, va="bottom")
    for name, rate in flat.items():
        axes.axhline(rate, linewidth=0.5, linestyle="--", **LINE)
        name = name.removeprefix("cuda_").replace("tensor_", "tensor core ")
        axes.annotate(name, (x[-1], rate), fontsize=5, ha="right", va="bottom")


def describe(rows, machines):
    """Which cases the figure shows: they need not share a problem."""
    words = sorted(rows["op"].unique())
    counts = sorted(rows.loc[~rows["variant"].map(runs_on_device), "threads"].unique())
    if counts:
        words.append("threads: " + ", ".join(f"{count:g}" for count in counts))
    if len(counts) > 1:
        words.append(f"ceilings of {counts[-1]:g}")
    return ", ".join([*words, *sorted(rows["cache"].unique()), *machines])


def roofline(cases, keys, title):
    """Operations per second over operations per byte, under the ceilings measured in that run."""
    attrs = cases.attrs
    cases = drawable(cases, "bytes", "flops")
    cases = cases[(cases["bytes"] > 0) & (cases["flops"] > 0)]
    if cases.empty:
        raise NoData("no case has more than 0 in columns 'bytes' and 'flops'")
    # Ceilings are those of one machine.
    several = cases["machine"].nunique() > 1
    cases = commonest(cases, "machine")
    machines = [cases["machine"].iloc[0]] if several else []
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
    figure.suptitle(describe(rows, machines), fontsize=6.5)
    legend_outside(axes)
    return figure
