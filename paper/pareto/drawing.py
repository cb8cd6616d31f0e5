"""What the kinds of figures share: which cases count, how a point, an axis and a title look."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pareto import style
from pareto.labels import SIZES, problem

# Columns in which cases agree that may be compared: the hash of a group knows no machine.
PROBLEM = ["group", "machine"]
# What makes another problem of a case, besides its sizes.
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
    "input_hash",
    "head_dim_v",
    "window_left",
    "window_right",
    "softcap",
    "scale",
    "page_size",
    "v",
    "allowed",
    "alibi",
    "sinks",
    "compat",
    "operands",
    "x_zero",
    "machine",
]
TITLE_CHARACTERS = 62
LEGEND_ROWS = 6  # of a legend that a figure has room for


class NoData(Exception):
    """Why these cases make no figure."""


def timed(cases):
    """Cases with a time that may be shown: suspect rates are left out."""
    return cases[cases["time_median_s"].notna() & ~cases["suspect"].fillna(False).astype(bool)]


def drawable(cases, *columns):
    """Timed cases that have a finite number in all of the columns, which become floats."""
    cases = timed(cases)
    if cases.empty:
        raise NoData("no case has a number in column 'time_median_s' that is not suspect")
    for column in columns:
        if column not in cases:
            raise NoData(f"no column {column!r}")
        cases = cases.assign(**{column: cases[column].astype(float)})
        cases = cases[np.isfinite(cases[column])]
        if cases.empty:
            raise NoData(f"no case has a number in column {column!r}")
    return cases


def ceilings_of(cases):
    """{name: {threads: rate}} as measured in the run that most of these cases are of."""
    runs = cases.attrs.get("ceilings_of_run")
    if not runs or "provenance_index" not in cases:
        return cases.attrs.get("ceilings") or {}
    return runs[int(cases["provenance_index"].mode().iloc[0])]


def is_hollow(row):
    """Failed or unverified results are drawn hollow."""
    return not passed(row)


def runs_on_device(variant):
    """True of variants that run on a GPU: their names begin with CUDA or a library of it."""
    return variant.startswith(("cuda_", "cublaslt_", "cusparse_", "cudnn_", "torch_cuda_"))


def is_baseline(rows):
    return rows["baseline"].fillna(False).astype(bool)


def passed(rows):
    """True of rows whose checks passed."""
    return rows["check_status"] == "pass"


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


def log_axis_of(axes, which, values):
    """A logarithmic axis; linear around zero where values are not above it."""
    if (values > 0).all():
        log_axis(axes, which)
    else:
        smallest = values[values > 0].min() if (values > 0).any() else 1
        getattr(axes, f"set_{which}scale")("symlog", linthresh=smallest)


# Conditions that every title shows where they are not the usual ones.
ALWAYS_NAMED = ("threads", "cache", "tensor", "mask", "layout", "input_hash")


def also_named(cases):
    """What names a problem besides that: conditions in which these cases differ."""
    return [
        column
        for column in CONDITIONS
        if column in cases and column not in ALWAYS_NAMED and cases[column].nunique() > 1
    ]


def differing(cases):
    """All conditions in which these cases differ, for rows that have no title."""
    always = [c for c in ALWAYS_NAMED if c != "input_hash" and c in cases]
    return [c for c in always if cases[c].nunique() > 1] + also_named(cases)


def condition(row, column):
    """'outlier' or 'bias=present'."""
    value = row[column]
    if column in ("machine", "distribution", "tensor", "cache"):
        return value
    return f"{column}={value if isinstance(value, str) else format(value, 'g')}"


def describe(row, varying=(), also=(), width=TITLE_CHARACTERS):
    """The problem that several cases share, in lines that fit a column."""
    words = [row["op"], problem(row, varying)]
    if "threads" not in varying and not runs_on_device(row["variant"]):
        words.append(f"{row['threads']:g} threads" if row["threads"] > 1 else "1 thread")
    words += [str(row[c]) for c in ("cache", "tensor") if c not in varying and row.get(c)]
    for column, usual in (("mask", "none"), ("layout", "dense")):
        if column not in varying and row.get(column, usual) not in (usual, ""):
            words.append(row[column])
    words += [condition(row, c) for c in also if c not in varying and not pd.isna(row[c])]
    text = ", ".join(word for word in words if word)
    return "\n".join(textwrap.wrap(text, width))


def set_title(axes, row, varying=(), also=()):
    """Names the problem that all cases of the figure share."""
    # On the figure, not on the axes: long names of bars leave those little room.
    axes.figure.suptitle(describe(row, varying, also), fontsize=6.5)


def commonest(cases, columns):
    """The most cases that agree in these columns."""
    return max((part for _, part in cases.groupby(columns, dropna=False)), key=len)


def biggest_problem(cases):
    """The cases of the group with the most points: figures compare like with like."""
    return commonest(cases, PROBLEM)


def largest_of_the_rest(cases, x, by="variant"):
    """One problem but for x and what names the lines: the largest value of every other size, the
    most threads, the commonest condition."""
    for column in SIZES + CONDITIONS:
        if column in (x, by) or column not in cases or cases.empty:
            continue
        if (cases[column] == cases[x]).fillna(False).all():
            continue  # goes along with x: keys of a prefill are as many as queries
        if column == "threads" or column in SIZES:
            if cases[column].notna().any():
                cases = cases[cases[column] == cases[column].max()]
        else:
            cases = commonest(cases, column)
    return cases
