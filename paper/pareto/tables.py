"""LaTeX tables with booktabs rules, and the same as text."""

import numpy as np
import pandas as pd

from pareto.drawing import PROBLEM, NoData, also_named, condition, differing, timed
from pareto.frontier import undominated
from pareto.labels import arithmetics, problem

ESCAPES = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#"}


def frontier_rows(cases, x="time_median_s", y="total_rel_fro"):
    """Cases on the frontier of their own group, fastest first, groups in order of appearance."""
    kept = timed(cases)
    kept = kept.assign(arithmetic=arithmetics(kept))
    parts = []
    for _, group in kept.groupby(PROBLEM, sort=False, dropna=False):
        parts.append(group[undominated(group, x, y)].sort_values(x))
    return [row for part in parts for _, row in part.iterrows()]


def named_problem(row, conditions):
    """Sizes, and the conditions that tell this row's problem from others of the table."""
    words = [condition(row, c) for c in conditions if c != "machine" and not pd.isna(row[c])]
    return " ".join([problem(row), *(word for word in words if word)])


def cells(row, conditions):
    half = (row["time_hi_s"] - row["time_lo_s"]) / 2 / row["time_median_s"]
    interval = f"{100 * half:.1f}" if np.isfinite(half) else "--"
    ceiling = (
        f"{100 * row['ceiling_fraction']:.0f}" if np.isfinite(row["ceiling_fraction"]) else "--"
    )
    return [
        row["op"],
        named_problem(row, conditions),
        row["variant"],
        row["arithmetic"],
        f"{1e6 * row['time_median_s']:.1f}",
        interval,
        ceiling,
        f"{row['total_rel_fro']:.1e}",
        *(row[c] for c in conditions if c == "machine"),
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


def problems_of(rows):
    return [tuple(row[PROBLEM]) for row in rows]


def latex(cases, columns=None):
    """The frontier of every group, or these columns of every case, as a booktabs table."""
    if columns is None:
        conditions = differing(cases)
        also = [c for c in conditions if c == "machine"]
        chosen = frontier_rows(cases)
        if not chosen:
            raise NoData("no case that passed has numbers in 'time_median_s' and 'total_rel_fro'")
        rows = [cells(row, conditions) for row in chosen]
        alignment = "llllrrrr" + "l" * len(also)
        return tabular([*HEADER, *also], alignment, rows, problems_of(chosen))
    cases = cases.assign(arithmetic=arithmetics(cases))
    chosen = [row for _, row in cases.sort_values([*PROBLEM, "variant"]).iterrows()]
    shown = [*columns, *(c for c in also_named(cases) if c not in columns)]
    rows = [
        [row["variant"], row["arithmetic"], row["check_status"], *(plain(row[c]) for c in shown)]
        for row in chosen
    ]
    header = ["variant", "arithmetic", "checks", *shown]
    return tabular(header, "lll" + "r" * len(shown), rows, problems_of(chosen))


def text(cases):
    """The same for a terminal."""
    conditions = differing(cases)
    also = [c for c in conditions if c == "machine"]
    table = [[*HEADER, *also]] + [cells(row, conditions) for row in frontier_rows(cases)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
