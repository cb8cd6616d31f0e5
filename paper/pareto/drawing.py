"""What the kinds of figures share: which cases count, how a point, an axis and a title look."""

import textwrap

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pareto import style
from pareto.labels import SIZES, problem

# Words of a case that make another problem of it, besides its sizes.
CONDITIONS = [
    "threads",
    "cache",
    "distribution",
    "tensor",
    "mask",
    "layout",
    "out_dtype",
    "activation",
    "bias",
]
TITLE_CHARACTERS = 62
LEGEND_ROWS = 6  # of a legend that a figure has room for


def timed(cases):
    """Cases with a time that may be shown: suspect rates are left out."""
    return cases[cases["time_median_s"].notna() & ~cases["suspect"].fillna(False).astype(bool)]


def is_hollow(row):
    """Failed or unverified results are drawn hollow."""
    return row["check_status"] != "pass"


def runs_on_device(variant):
    """True of variants that run on a GPU: their names begin with CUDA or a library of it."""
    return variant.startswith(("cuda_", "cublaslt_", "cusparse_", "cudnn_", "torch_cuda_"))


def is_baseline(rows):
    return rows["baseline"].fillna(False).astype(bool)


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
    """A legend below the axes; a long one makes the figure higher, not the axes lower."""
    handles, names = axes.get_legend_handles_labels()
    row_in = 1.5 * style.RC["legend.fontsize"] / 72
    more_rows = max(0, -(-len(names) // columns) - LEGEND_ROWS)
    axes.figure.set_figheight(axes.figure.get_figheight() + more_rows * row_in)
    if names:
        axes.figure.legend(handles, names, loc="outside lower center", ncols=columns)


def log_axis(axes, which):
    """A logarithmic axis with labels that do not run into one another."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    getattr(axes, f"set_{which}scale")("log")
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high / low < 30:
        # Powers of ten alone would be one or two labels.
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    else:
        axis.set_major_locator(LogLocator(numticks=7))


def describe(row, varying=(), width=TITLE_CHARACTERS):
    """The problem that several cases share, in lines that fit a column."""
    words = [row["op"], problem(row, varying)]
    if "threads" not in varying and not runs_on_device(row["variant"]):
        words.append(f"{row['threads']:g} threads" if row["threads"] > 1 else "1 thread")
    words += [str(row[c]) for c in ("cache", "tensor") if row.get(c)]
    if row.get("mask", "none") not in ("none", ""):
        words.append(row["mask"])
    if row.get("layout", "dense") not in ("dense", ""):
        words.append(row["layout"])
    text = ", ".join(word for word in words if word)
    return "\n".join(textwrap.wrap(text, width))


def set_title(axes, row, varying=()):
    """Names the problem that all cases of the figure share."""
    # On the figure, not on the axes: long names of bars leave those little room.
    axes.figure.suptitle(describe(row, varying), fontsize=6.5)


def biggest_problem(cases):
    """The cases of the group with the most points: figures compare like with like."""
    counts = cases.groupby("group", dropna=False).size()
    return cases[cases["group"] == counts.idxmax()]


def largest_of_the_rest(cases, x):
    """One problem but for x: the largest value of every other size, the commonest condition."""
    for column in SIZES:
        if column == x or column not in cases or not cases[column].notna().any():
            continue
        if (cases[column] == cases[x]).all():
            continue  # goes along with x: keys of a prefill are as many as queries
        cases = cases[cases[column] == cases[column].max()]
    for column in CONDITIONS:
        if column == x or column not in cases or cases.empty:
            continue
        values = cases[column].dropna()
        if column == "threads":
            cases = cases[cases[column] == values.max()]
        elif values.nunique() > 1:
            cases = cases[cases[column] == values.mode().iloc[0]]
    return cases
