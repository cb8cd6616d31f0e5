"""Bars: the speed of every variant beside the fastest baseline, or any other column."""

import numpy as np

from pareto import style
from pareto.drawing import (
    PROBLEM,
    also_named,
    biggest_problem,
    describe,
    drawable,
    is_baseline,
    is_hollow,
    log_axis_of,
    passed,
    set_title,
)
from pareto.labels import arithmetics, bigger_is_better, label

MOST_BARS = 16  # of one problem
MOST_PANELS = 8
PANEL_TITLE_CHARACTERS = 80
BAR_IN = 0.15
MARGIN_IN = 0.9
PANEL_TITLE_IN = 0.4  # and its ticks


def draw_bars(axes, rows, values):
    """Horizontal bars from the top; baselines in another colour, failed ones hollow."""
    places = np.arange(len(rows))[::-1]
    for place, value, (_, row) in zip(places, values, rows.iterrows(), strict=True):
        colour = style.COLOURS[4] if row["baseline"] else style.COLOURS[5]
        face = "none" if is_hollow(row) else colour
        axes.barh(place, value, color=face, edgecolor=colour, height=0.7)
    axes.set_yticks(places, rows["variant"] + " " + rows["arithmetic"], fontsize=6)
    axes.grid(axis="y", visible=False)
    return places


def unit_of(rows):
    """The rows of which the fastest is 1. Baselines that failed their checks are among them:
    without the fastest library, whatever it gets wrong, we would look better."""
    for chosen in (rows[is_baseline(rows)], rows[passed(rows)]):
        if not chosen.empty:
            return chosen
    return rows


def doubt_about_unit(rows):
    fastest = unit_of(rows).sort_values("time_median_s").iloc[0]
    return f", {fastest['variant']} not verified" if is_hollow(fastest) else ""


def draw_speeds(axes, rows, limit):
    """Speeds relative to the fastest baseline, or where there is none to the fastest variant."""
    unit = unit_of(rows)["time_median_s"].min()
    rows = rows.head(limit)  # a baseline that is not among them counts, too
    places = draw_bars(axes, rows, unit / rows["time_median_s"])
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        if np.isfinite(row["time_lo_s"]):
            ends = [unit / row["time_hi_s"], unit / row["time_lo_s"]]
            axes.plot(ends, [place, place], color="black", linewidth=0.8)
    axes.axvline(1, color="black", linewidth=0.6)


def problems(cases):
    """The problems that several cases share, least work first; of many those with most cases."""
    groups = [rows.sort_values("time_median_s") for _, rows in cases.groupby(PROBLEM)]
    groups = [rows for rows in groups if len(rows) > 1] or groups
    groups.sort(key=lambda rows: -len(rows))  # stable: the same file gives the same figure
    return sorted(groups[:MOST_PANELS], key=lambda rows: rows["flops"].max())


def omitted(cases, panels):
    """What a reader must know of problems without a panel."""
    count = cases.groupby(PROBLEM).ngroups - len(panels)
    return f"\n{count} more problem{'s' if count > 1 else ''} not drawn" if count > 0 else ""


def slower_ones(rows, limit):
    """The same of variants without a bar."""
    return f", {len(rows) - limit} slower not drawn" if len(rows) > limit else ""


def bars_of_column(cases, column, limit):
    rows = biggest_problem(cases)
    rows = rows.sort_values(column, ascending=not bigger_is_better(column)).head(limit)
    figure, axes = style.new_figure(MARGIN_IN + BAR_IN * len(rows))
    draw_bars(axes, rows, rows[column])
    log_axis_of(axes, "x", rows[column])
    figure.supxlabel(label(column), fontsize=8)
    set_title(axes, rows.iloc[0], also=also_named(cases))
    return figure


def bars(cases, keys, title):
    """Speed of every variant relative to the fastest baseline, with intervals, a panel per problem;
    with a key `y` that column itself, of the problem with most cases."""
    cases = drawable(cases, *([keys["y"]] if "y" in keys else []))
    cases = cases.assign(arithmetic=arithmetics(cases))
    if "y" in keys:
        return bars_of_column(cases, keys["y"], int(keys.get("limit", len(cases))))
    limit = int(keys.get("limit", MOST_BARS))
    panels = problems(cases)
    counts = [min(len(rows), limit) for rows in panels]
    figure, axes = style.new_panels(
        [BAR_IN * count + PANEL_TITLE_IN for count in counts], MARGIN_IN - PANEL_TITLE_IN
    )
    for place, rows in zip(axes, panels, strict=True):
        draw_speeds(place, rows, limit)
        title = describe(rows.iloc[0], also=also_named(cases), width=PANEL_TITLE_CHARACTERS)
        title += doubt_about_unit(rows) + slower_ones(rows, limit)
        place.set_title(title, fontsize=5.5, loc="right")
        place.tick_params(axis="x", labelsize=6)
    baseline = [is_baseline(unit_of(rows)).any() for rows in panels]
    what = "fastest baseline" if any(baseline) else "fastest variant"
    if any(baseline) and not all(baseline):
        what += ", else variant,"
    figure.supxlabel(f"relative speed ({what} = 1)" + omitted(cases, panels), fontsize=8)
    return figure
