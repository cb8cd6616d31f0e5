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


def plain(value):
    """A cell of a column as it is."""
    if isinstance(value, str):
        return value
    return f"{value:.2e}" if isinstance(value, float) else str(value)


def tabular(header, alignment, rows, groups):
    """A booktabs table; a gap where the group changes."""
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    lines.append(" & ".join(escape(h) for h in header) + r" \\")
    lines.append(r"\midrule")
    for i, row in enumerate(rows):
        if i > 0 and groups[i] != groups[i - 1]:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(escape(c) for c in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def latex(cases, columns=None):
    """The frontier of every group, or these columns of every case, as a booktabs table."""
    if columns is None:
        chosen = frontier_rows(cases)
        rows = [cells(row) for row in chosen]
        return tabular(HEADER, "llllrrrr", rows, [row["group"] for row in chosen])
    chosen = [row for _, row in cases.sort_values(["group", "variant"]).iterrows()]
    rows = [
        [row["variant"], arithmetic(row), row["check_status"], *(plain(row[c]) for c in columns)]
        for row in chosen
    ]
    header = ["variant", "arithmetic", "checks", *columns]
    return tabular(header, "lll" + "r" * len(columns), rows, [row["group"] for row in chosen])


def text(cases):
    """The same for a terminal."""
    table = [HEADER] + [cells(row) for row in frontier_rows(cases)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
