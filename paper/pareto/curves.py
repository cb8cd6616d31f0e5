"""Figures of lines: a quantity over threads, sizes or sparsity, one line per variant."""

import numpy as np

from pareto import style
from pareto.drawing import (
    NoData,
    also_named,
    ceilings_of,
    drawable,
    is_baseline,
    largest_of_the_rest,
    legend_outside,
    log_axis,
    log_axis_of,
    passed,
    set_title,
)
from pareto.labels import SIZES, bigger_is_better, label, line_names, shortened

MOST_LINES = 10


def best_lines(rows, x, y, limit):
    """Names of the lines worth drawing: the best at any place, and at least the best baseline."""
    places = rows.groupby("line")[x].nunique()
    rows = rows[rows["line"].map(places) > 1]
    if rows.empty:
        raise NoData(f"column {x!r} has one value in the cases that differ in nothing else")
    bigger = bigger_is_better(y)
    best = rows.groupby("line")[y].agg("max" if bigger else "min")
    order = best.sort_values(ascending=not bigger).index
    kept = list(order[:limit])
    baselines = [name for name in order if is_baseline(rows[rows["line"] == name]).any()]
    if baselines and baselines[0] not in kept:
        kept[-1] = baselines[0]
    return kept


def draw_line(axes, members, x, y, look, name, intervals=None):
    """Medians of seeds, or of variants, over x; dashed: a baseline; hollow: not verified."""
    middle = members.groupby(x)[y].median().sort_index()
    unsound = set(members.loc[~passed(members), x])
    colour, marker = look
    axes.plot(
        middle.index.astype(float),
        middle.to_numpy(dtype=float),
        marker=marker,
        color=colour,
        linestyle="--" if is_baseline(members).any() else "-",
        markerfacecolor=colour if passed(members).any() else "none",
        label=name,
    )
    hollow = middle[middle.index.isin(unsound)]
    axes.plot(
        hollow.index.astype(float),
        hollow.to_numpy(dtype=float),
        marker=marker,
        color=colour,
        linestyle="none",
        markerfacecolor="white",
    )
    for place, low, high in intervals or []:
        if np.isfinite(low):
            axes.plot([place, place], [low, high], color=colour, linewidth=0.8)


def intervals_of(members, x, y):
    """(x, low, high) of each row, from the interval of its time."""
    if y == "time_median_s":
        ends = (members["time_lo_s"], members["time_hi_s"])
    elif y in ("flops_per_s", "bytes_per_s"):
        work = members[y] * members["time_median_s"]
        ends = (work / members["time_hi_s"], work / members["time_lo_s"])
    else:
        return []
    return zip(members[x].astype(float), *ends, strict=True)


def draw_ceiling(axes, cases, name, x):
    """The measured limit: a flat line, or one point per number of threads."""
    rates = ceilings_of(cases).get(name) or {}
    counts = sorted(set(cases["threads"].astype(int)) & set(rates))
    if not counts:
        return
    if x == "threads":
        axes.plot(counts, [rates[n] for n in counts], color="black", linewidth=0.7, linestyle=":")
    else:
        axes.axhline(rates[counts[-1]], color="black", linewidth=0.7, linestyle=":")
    axes.plot([], [], color="black", linewidth=0.7, linestyle=":", label=f"ceiling {name}")


def scale_x(axes, values, x):
    ticks = sorted(values.astype(float).unique())
    if x == "threads" or len(ticks) <= 10:
        if ticks[0] > 0 and ticks[-1] / ticks[0] > 4:
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [shortened(tick) for tick in ticks])
        axes.minorticks_off()


def scaling(cases, keys, title):
    """A quantity over threads or a size, one line per variant; intervals drawn."""
    x, y = keys.get("x", "threads"), keys.get("y", "flops_per_s")
    by = keys.get("by", "variant")
    attrs = cases.attrs
    cases = drawable(cases, x, y)
    rows = largest_of_the_rest(cases, x, by)
    rows = rows.assign(line=line_names(rows, by, x))
    rows.attrs = attrs
    kept = best_lines(rows, x, y, int(keys.get("limit", MOST_LINES)))
    figure, axes = style.new_figure(3.4)
    for name, look in style.appearance(kept).items():
        members = rows[rows["line"] == name]
        draw_line(axes, members, x, y, look, name, intervals_of(members, x, y))
    if "ceiling" in keys:
        draw_ceiling(axes, rows, keys["ceiling"], x)
    if keys.get("log_y", False):
        log_axis_of(axes, "y", rows[y])
    else:
        axes.set_ylim(bottom=0)
    scale_x(axes, rows[x], x)
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(y))
    along = [c for c in SIZES if c in rows and (rows[c] == rows[x]).all()]
    set_title(axes, rows.iloc[0], (x, by, *along), also_named(cases))
    legend_outside(axes)
    return figure


def crossover(cases, keys, title):
    """Speed-up over the dense baseline against sparsity; where a line passes 1 it pays."""
    x = keys.get("x", "sparsity")
    cases = drawable(cases, x)
    also = also_named(cases)
    cases = largest_of_the_rest(cases, x)
    dense = keys.get("dense", "dense")
    is_dense = cases["variant"].str.contains(dense, regex=False)
    measures = cases[is_dense]
    fastest = measures.groupby(x)["time_median_s"].min()
    rows = cases[~is_dense & cases[x].isin(fastest.index)]
    if rows.empty:
        raise NoData(f"no case has one in column 'variant' like {dense!r} at its {x}")
    rows = rows.assign(
        line=line_names(rows, "variant", x),
        speedup=rows[x].map(fastest) / rows["time_median_s"],
    )
    kept = best_lines(rows, x, "speedup", int(keys.get("limit", MOST_LINES)))
    figure, axes = style.new_figure(3.4)
    for name, look in style.appearance(kept).items():
        draw_line(axes, rows[rows["line"] == name], x, "speedup", look, name)
    axes.axhline(1, color="black", linewidth=0.8)
    log_axis(axes, "y")
    axes.set_xlabel(label(x))
    at_fastest = measures["time_median_s"] == measures[x].map(fastest)
    measures = measures[at_fastest]
    names = measures["variant"].unique()
    doubt = "" if passed(measures).all() else " (not verified)"
    one = names[0] if len(names) == 1 else "the fastest dense variant"
    axes.set_ylabel(f"speed-up over {one}{doubt}")
    set_title(axes, rows.iloc[0], (x,), also)
    legend_outside(axes)
    return figure
