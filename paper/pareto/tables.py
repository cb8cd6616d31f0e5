"""LaTeX tables with booktabs rules, and the same as text."""

import numpy as np

from pareto.frontier import on_frontier
from pareto.labels import arithmetic, problem

ESCAPES = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#"}


def frontier_rows(cases, x="time_median_s", y="total_rel_fro"):
    """Cases on the frontier of their own group, fastest first, groups in order of appearance."""
    kept = cases[cases[x].notna() & (cases["check_status"] == "pass")]
    parts = []
    for _, group in kept.groupby("group", sort=False):
        parts.append(group[on_frontier(group[x], group[y])].sort_values(x))
    return [row for part in parts for _, row in part.iterrows()]


def cells(row):
    half = (row["time_hi_s"] - row["time_lo_s"]) / 2 / row["time_median_s"]
    interval = f"{100 * half:.1f}" if np.isfinite(half) else "--"
    ceiling = (
        f"{100 * row['ceiling_fraction']:.0f}" if np.isfinite(row["ceiling_fraction"]) else "--"
    )
    return [
        row["op"],
        problem(row),
        row["variant"],
        arithmetic(row),
        f"{1e6 * row['time_median_s']:.1f}",
        interval,
        ceiling,
        f"{row['total_rel_fro']:.1e}",
    ]


HEADER = ["op", "problem", "variant", "arithmetic", "time (us)", "+/- %", "% ceiling", "error"]


def escape(text):
    return "".join(ESCAPES.get(c, c) for c in text)


def latex(cases):
    """The frontier of every group as a booktabs table."""
    lines = [r"\begin{tabular}{llllrrrr}", r"\toprule"]
    lines.append(" & ".join(escape(h) for h in HEADER) + r" \\")
    lines.append(r"\midrule")
    previous = None
    for row in frontier_rows(cases):
        if previous is not None and row["group"] != previous:
            lines.append(r"\addlinespace")
        previous = row["group"]
        lines.append(" & ".join(escape(c) for c in cells(row)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def text(cases):
    """The same for a terminal."""
    table = [HEADER] + [cells(row) for row in frontier_rows(cases)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
