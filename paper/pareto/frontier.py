"""Which points nobody beats in both speed and accuracy."""

import numpy as np

from pareto.labels import bigger_is_better


def on_frontier(cost, error):
    """Boolean array: no other point has lower or equal cost *and* error, one of them lower.

    Points with NaN are never on the frontier. Of identical points all are.
    """
    cost = np.asarray(cost, dtype=float)
    error = np.asarray(error, dtype=float)
    valid = np.isfinite(cost) & np.isfinite(error)
    result = np.zeros(len(cost), dtype=bool)
    best = np.inf
    order = np.lexsort((error, cost))
    previous = None
    for i in order:
        if not valid[i]:
            continue
        point = (cost[i], error[i])
        if error[i] < best or point == previous:
            result[i] = True
            best = error[i]
            previous = point
    return result


def undominated(rows, x, y):
    """on_frontier of two columns, whichever way is better, among the rows that passed their checks:
    a failed one must not hide a sound one."""
    passed = rows["check_status"] == "pass"
    costs = [rows[c].astype(float) * (-1 if bigger_is_better(c) else 1) for c in (x, y)]
    return on_frontier(*(cost.where(passed) for cost in costs))
