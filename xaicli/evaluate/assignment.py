"""How far clusters are the classes: one to one at best, by shared information, and by pairs of rows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.clusters import NONE, Labels

Table: TypeAlias = npt.NDArray[np.int64]


def contingency(clusters: Labels, classes: Labels) -> Table:
    """How many rows of each cluster are of each class, [clusters, classes], both ascending; noise is left out."""
    inside = clusters != NONE
    numbers, rows = np.unique(clusters[inside], return_inverse=True)
    names, columns = np.unique(classes, return_inverse=True)
    table = np.zeros((len(numbers), len(names)), dtype=np.int64)
    np.add.at(table, (rows, columns[inside]), 1)
    return table


def assign(clusters: Labels, classes: Labels) -> dict[int, int]:
    """The class of each cluster, at most one cluster for a class, so that the most rows are right (Kuhn, 1955).

    Of more clusters than classes some have none.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(contingency(clusters, classes), maximize=True)
    numbers, names = np.unique(clusters[clusters != NONE]), np.unique(classes)
    return {int(numbers[row]): int(names[column]) for row, column in zip(rows, columns, strict=True)}


def assigned_right(clusters: Labels, classes: Labels) -> npt.NDArray[np.float64]:
    """1 for each row whose cluster was assigned its class, else 0, [n]; noise and clusters without a class are wrong.

    Its mean is the Hungarian accuracy.
    """
    chosen = assign(clusters, classes)
    right = [chosen.get(int(one)) == int(other) for one, other in zip(clusters, classes, strict=True)]
    return np.array(right, dtype=np.float64)


def mutual_information(clusters: Labels, classes: Labels) -> float | None:
    """NMI: mutual information over the mean of both entropies, in [0, 1] (Strehl and Ghosh, 2002).

    Noise is a cluster of its own. 1 where both are a single group; None without rows.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(classes, clusters)) if len(classes) else None


def adjusted_rand(clusters: Labels, classes: Labels) -> float | None:
    """ARI: agreement on which pairs of rows belong together, 0 as by chance and 1 at best (Hubert and Arabie, 1985).

    Noise is a cluster of its own. None without rows.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(classes, clusters)) if len(classes) else None
