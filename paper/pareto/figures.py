"""One function per kind of figure. Each takes the cases (a table from load()), the figure's keys
from the experiment and a title, and returns a matplotlib figure, or None when no case fits."""

import numpy as np

from pareto import style
from pareto.bars import bars
from pareto.curves import crossover, scaling
from pareto.drawing import (
    biggest_problem,
    draw_point,
    is_hollow,
    legend_outside,
    log_axis,
    set_title,
    timed,
)
from pareto.frontier import on_frontier
from pareto.labels import arithmetic, label
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
    cases = timed(cases)
    cases = cases[np.isfinite(cases[y].astype(float))]
    if cases.empty:
        return None
    cases = biggest_problem(cases)
    by = keys.get("by", "variant")
    rows = cases.assign(arithmetic=cases.apply(arithmetic, axis=1)).reset_index(drop=True)
    group_of = rows["arithmetic"] if by in ("scheme", "dtype", "format") else rows[by].astype(str)
    best = on_frontier(rows[x], rows[y]) & (rows["check_status"] == "pass").to_numpy()
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
    axes.step(line[x], line[y], where="post", color="black", linewidth=0.6, zorder=0)
    axes.plot([], [], marker="o", color=style.GREY, linestyle="none", label="dominated")
    if rows.apply(is_hollow, axis=1).any():
        unfilled = {"color": style.GREY, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot([], [], marker="o", label="checks failed", **unfilled)
    log_axis(axes, "x")
    if (rows[y] > 0).all():
        log_axis(axes, "y")
    else:
        smallest = rows[y][rows[y] > 0].min() if (rows[y] > 0).any() else 1
        axes.set_yscale("symlog", linthresh=smallest)
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(y))
    set_title(axes, rows.iloc[0])
    legend_outside(axes, columns=1)
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
