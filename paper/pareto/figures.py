"""One function per kind of figure. Each takes the cases (a table from load()), the figure's keys
from the experiment and a title, and returns a matplotlib figure; NoData when no case fits."""

import numpy as np

from pareto import style
from pareto.bars import bars
from pareto.curves import crossover, scaling
from pareto.drawing import (
    also_named,
    biggest_problem,
    draw_point,
    drawable,
    is_hollow,
    legend_outside,
    log_axis_of,
    set_title,
)
from pareto.frontier import undominated
from pareto.labels import arithmetics, bigger_is_better, label
from pareto.roofline import roofline

MOST_NAMES = 3


def names_of(members):
    """'a, b, c and 4 more': what stands behind one colour of a frontier."""
    names = sorted(set(members))
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return ", ".join(names[: MOST_NAMES - 1]) + f" and {len(names) - MOST_NAMES + 1} more"


def frontier(cases, keys, title):
    """Time against error of every variant and scheme of one problem; dominated points grey."""
    x, y = keys.get("x", "time_median_s"), keys.get("y", "total_rel_fro")
    cases = drawable(cases, x, y)
    by = keys.get("by", "variant")
    rows = biggest_problem(cases).reset_index(drop=True)
    rows = rows.assign(arithmetic=arithmetics(rows))
    group_of = rows["arithmetic"] if by in ("scheme", "dtype", "format") else rows[by].astype(str)
    best = undominated(rows, x, y)
    figure, axes = style.new_figure(3.4)
    for _, row in rows[~best].iterrows():
        draw_point(axes, row, x, y, style.GREY, "o", alpha=0.7)
    for name, (colour, marker) in style.appearance(group_of[best].unique()).items():
        members = rows[best & (group_of == name)]
        for _, row in members.iterrows():
            draw_point(axes, row, x, y, colour, marker)
        names = names_of(members["variant"] if by != "variant" else members["arithmetic"])
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=f"{name}: {names}")
    line = rows[best].sort_values(x)
    # From each point towards worse x: there its y can be had, too.
    where = "pre" if bigger_is_better(x) else "post"
    axes.step(line[x], line[y], where=where, color="black", linewidth=0.6, zorder=0)
    axes.plot([], [], marker="o", color=style.GREY, linestyle="none", label="dominated")
    if rows.apply(is_hollow, axis=1).any():
        unfilled = {"color": style.GREY, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot([], [], marker="o", label="not verified", **unfilled)
    log_axis_of(axes, "x", rows[x])
    log_axis_of(axes, "y", rows[y])
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(y))
    set_title(axes, rows.iloc[0], also=also_named(cases))
    legend_outside(axes, columns=1)
    return figure


def ecdf(cases, keys, title):
    """Distribution of a column over all cases, one step line per variant."""
    x = keys.get("x", "ceiling_fraction")
    by = keys.get("by", "variant")
    cases = drawable(cases, x)
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
