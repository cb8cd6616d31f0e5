"""Which points nobody beats in both speed and accuracy."""

import numpy as np


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
