"""Whether the rows that a model refuses fall into groups, and whether these are the classes that it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from xaicli.data.dataset import Rows
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.assignment import adjusted_rand, assign, assigned_right, contingency, mutual_information
from xaicli.evaluate.clusters import NONE, Labels, count_of
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import Estimate, proportion_estimate
from xaicli.evaluate.whole import Columns, Facts, Figure, known
from xaicli.run.interval import FEWEST_ROWS
from xaicli.run.random import Stream
from xaicli.signatures import Count

FEWEST = FEWEST_ROWS  # that are clustered


@dataclass(frozen=True, eq=False)
class Refused:
    """The root: the rows that the checkpoint's own detector refuses, or should, among all that are judged.

    index: the numbers of all rows, ascending. truth: [N], each row's class in its own data. places: where `refused`
    rows, or those of `unknown` classes, are among them. grouped: the cluster of each of these, from their kind,
    algorithm, number of clusters and seed. Both are found once a run.
    """

    index: Rows
    truth: Rows
    places: Callable[[str], Rows]
    grouped: Callable[[str, str, int | None, int], Labels]


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """Each source's clusters against the classes."""
    return [_figures(own, one) for own, one in zip(columns, facts, strict=True)]


def _figures(own: Columns, facts: Facts) -> list[Figure]:
    chosen = np.isfinite(own["class"])
    details: dict[str, Any] = {"rows": int(chosen.sum()), "fewest": FEWEST}
    if details["rows"] < FEWEST:
        nothing = Estimate(None, None, None, 0, 0)
        return [
            Figure("", nothing, "higher", proportion=True, details=details),
            *(Figure(part, nothing, "higher") for part in ("nmi", "ari")),
            Figure("clusters", nothing, "neither"),
        ]
    clusters, classes = (own[part][chosen].astype(np.int64) for part in ("", "class"))
    n = len(clusters)
    details["clusters"] = described(clusters, classes, facts["classes"])
    true = {"classes": len(np.unique(classes))}
    return [
        Figure("", proportion_estimate(assigned_right(clusters, classes)), "higher", proportion=True, details=details),
        Figure("nmi", known(mutual_information(clusters, classes), n), "higher"),
        Figure("ari", known(adjusted_rand(clusters, classes), n), "higher"),
        Figure("clusters", known(float(count_of(clusters)), n), "neither", details=true),
    ]


def described(clusters: Labels, classes: Labels, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each cluster with its rows, the class it is assigned, if any, and its purity: the share of its commonest class.

    The rows that are in no cluster come last, if there are any.
    """
    chosen, table = assign(clusters, classes), contingency(clusters, classes)
    numbers = np.unique(clusters[clusters != NONE])
    found = [
        {
            "cluster": int(number),
            "rows": int(row.sum()),
            "class": names[chosen[int(number)]] if int(number) in chosen else None,
            "purity": float(row.max() / row.sum()),
        }
        for number, row in zip(numbers, table, strict=True)
    ]
    left = int((clusters == NONE).sum())
    return [*found, *([{"cluster": NONE, "rows": left, "class": None, "purity": None}] if left else [])]


@reports(parts=("class",), together=figures)
def clustering(
    subject: Subject,
    refused: Refused,
    stream: Stream,
    *,
    algorithm: Literal["kmeans", "dp-gmm", "agglomerative", "hdbscan"] = "kmeans",
    clusters: Count | None = None,
    rows: Literal["refused", "unknown"] = "refused",
) -> Scores:
    """Share of refused rows whose cluster is assigned their class, Hungarian accuracy, higher is better (Kuhn, 1955).

    All rows, of known and of unknown classes, that the checkpoint's own detector refuses are clustered by their
    penultimate features; the rows' values are the clusters, 0 for the largest and -1 for none (hdbscan's noise). A
    class is one of the data's own, and each further data set named with --unknown has its own classes, or is one where
    it has none; at most one cluster is assigned to each so that the most rows are right. Beside it stand the normalised
    mutual information and the adjusted Rand index of clusters and classes, and how many clusters there are. clusters:
    how many to look for; auto estimates it, by the largest mean silhouette of 2 to 10 for kmeans and agglomerative.
    dp-gmm takes it as the most that there can be, hdbscan not at all. rows=unknown: all rows of unknown classes
    instead, as if the detector were always right. Undefined for fewer than 20 rows. An uncertain checkpoint lends the
    features of its one plain network. Needs a checkpoint that refuses, or unknown rows.
    """
    places = refused.places(rows)
    labels = np.full((2, len(refused.index)), np.nan)
    labels[1, places] = refused.truth[places]
    if len(places) >= FEWEST:
        labels[0, places] = refused.grouped(rows, algorithm, clusters, stream.seed)
    here = np.searchsorted(refused.index, np.array(stream.index))
    own, classes = torch.as_tensor(labels[:, here]).to(subject.images.device)
    return Scores(own, {"class": classes})


def statement(name: str, value: float | None, details: Mapping[str, Any]) -> str:
    """What became of the clusters, in one sentence."""
    if value is None:
        return f"{name}: there are {details['rows']} rows to cluster, and it takes {details['fewest']}."
    found = [one for one in details["clusters"] if one["cluster"] != NONE]
    return f"{name}: {details['rows']:,} rows fall into {len(found)} cluster{'s' if len(found) > 1 else ''}."
