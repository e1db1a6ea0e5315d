"""Clusters of rows by their features, by named algorithms that are told how many there are or estimate it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xaicli.errors import UsageError, nearest

Features: TypeAlias = npt.NDArray[np.floating[Any]]
Labels: TypeAlias = npt.NDArray[np.int64]
Algorithm: TypeAlias = Callable[[Features, int | None, int], Labels]

NONE = -1  # the label of rows that are in no cluster
MOST = 10  # clusters that are looked for where their number is not known
COMPONENTS = 20  # principal components that the mixture sees: in more its densities have too few rows each
SMALLEST = 5  # rows of a cluster that density alone has to show (Campello et al., 2013)
COMPARED = 5000  # rows that silhouettes are averaged over


def cluster(algorithm: str, features: Features, *, clusters: int | None = None, seed: int = 0) -> Labels:
    """The cluster of each row, int64 [n]: 0 for the largest, the first row deciding between equals, -1 for none.

    features: [n, d], finite. clusters: how many there are, at least 1; None estimates it. `dp-gmm` takes it as the most
    there can be, `hdbscan` does not look at it. Never more clusters than distinct rows. Raises UsageError for an
    unknown name.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(
            f"there is no clustering '{algorithm}'.{nearest(algorithm, ALGORITHMS)} Use {', '.join(ALGORITHMS)}."
        )
    values = np.asarray(features, dtype=np.float64)
    distinct = _distinct(values)
    if distinct < 2:
        return np.zeros(len(values), dtype=np.int64)
    wanted = None if clusters is None else min(clusters, distinct)
    return _by_size(ALGORITHMS[algorithm](values, wanted, seed))


def count_of(labels: Labels) -> int:
    """How many clusters there are."""
    return len(np.unique(labels[labels != NONE]))


def kmeans(features: Features, clusters: int | None, seed: int) -> Labels:
    """The best of ten starts by k-means++ (Arthur and Vassilvitskii, 2007)."""
    from sklearn.cluster import KMeans

    def fit(number: int) -> Labels:
        labels: Labels = KMeans(number, n_init=10, random_state=seed).fit_predict(features)
        return labels

    return fit(clusters) if clusters else most_apart(features, fit, seed)


def agglomerative(features: Features, clusters: int | None, seed: int) -> Labels:
    """The two clusters whose union adds least to the variance within are joined until so many are left (Ward, 1963)."""
    from sklearn.cluster import AgglomerativeClustering

    def fit(number: int) -> Labels:
        labels: Labels = AgglomerativeClustering(number, linkage="ward").fit_predict(features)
        return labels

    return fit(clusters) if clusters else most_apart(features, fit, seed)


def dp_gmm(features: Features, clusters: int | None, seed: int) -> Labels:
    """Gaussians of diagonal covariance whose weights have a Dirichlet process prior (Blei and Jordan, 2006).

    On the first 20 principal components at most, each divided by the standard deviation of the first. The likeliest of
    five starts; a Gaussian that no row prefers is no cluster.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import BayesianGaussianMixture

    most = min(clusters or MOST, _distinct(features))
    seen = PCA(min(COMPONENTS, *features.shape), svd_solver="full").fit_transform(features)
    mixture = BayesianGaussianMixture(
        n_components=most,
        covariance_type="diag",
        weight_concentration_prior_type="dirichlet_process",
        max_iter=1000,
        n_init=5,
        random_state=seed,
    )
    labels: Labels = mixture.fit_predict(seen / seen[:, 0].std())
    return labels


def hdbscan(features: Features, clusters: int | None, seed: int) -> Labels:
    """Regions that stay dense the longest as the bar is raised; rows in none of them are noise (Campello et al., 2013).

    A cluster has at least 5 rows and at least every fiftieth of all.
    """
    from sklearn.cluster import HDBSCAN

    smallest = max(SMALLEST, len(features) // 50)
    if len(features) < smallest:
        return np.full(len(features), NONE, dtype=np.int64)
    labels: Labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(features)
    return labels


ALGORITHMS: dict[str, Algorithm] = {
    "kmeans": kmeans,
    "dp-gmm": dp_gmm,
    "agglomerative": agglomerative,
    "hdbscan": hdbscan,
}


def most_apart(features: Features, fit: Callable[[int], Labels], seed: int) -> Labels:
    """Of 2 to 10 clusters those of the largest mean silhouette, the fewest among equals (Rousseeuw, 1987)."""
    from sklearn.metrics import silhouette_score

    best, labels = -np.inf, np.zeros(len(features), dtype=np.int64)
    for number in range(2, min(MOST, _distinct(features), len(features) - 1) + 1):
        found = fit(number)
        sample = COMPARED if len(features) > COMPARED else None
        score = float(silhouette_score(features, found, sample_size=sample, random_state=seed))
        if score > best:
            best, labels = score, found
    return labels


def _distinct(features: Features) -> int:
    return len(np.unique(features, axis=0))


def _by_size(labels: Labels) -> Labels:
    """The clusters numbered anew, the largest first."""
    numbers, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = [n for n in np.lexsort((first, -counts)) if numbers[n] != NONE]
    renamed = np.full(len(labels), NONE, dtype=np.int64)
    for place, n in enumerate(order):
        renamed[labels == numbers[n]] = place
    return renamed
