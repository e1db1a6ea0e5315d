"""Clusterings: every partition tried, scipy's tree, groups that cannot be missed, and rows that are too few."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score, silhouette_score

from xaicli.errors import UsageError
from xaicli.evaluate.clusters import ALGORITHMS, cluster, count_of

SIZES = (40, 25, 60, 30)


def groups(spread: float = 0.3, dimensions: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four groups of rows around centres on two axes, in random order."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(4), SIZES))
    centres = np.zeros((4, dimensions))
    centres[range(4), [0, 0, 1, 1]] = [12, -12, 12, -12]
    return centres[classes] + spread * rng.standard_normal((len(classes), dimensions)), classes


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dimensions", [2, 30, 400])
def test_groups_far_apart_are_found_and_counted(algorithm: str, dimensions: int) -> None:
    features, classes = groups(dimensions=dimensions, seed=1)
    found = cluster(algorithm, features)
    inside = found >= 0
    assert count_of(found) == 4 and inside.mean() > 0.95
    assert adjusted_rand_score(classes[inside], found[inside]) == 1
    counts = np.bincount(found[inside])
    assert (np.diff(counts) <= 0).all()  # the largest first
    assert np.array_equal(found, cluster(algorithm, features))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_order_of_rows_and_the_scale_of_features_do_not_matter(algorithm: str) -> None:
    features, _ = groups(seed=2)
    found, order = cluster(algorithm, features), np.random.default_rng(5).permutation(len(features))
    for other in (cluster(algorithm, features[order]), cluster(algorithm, 1e3 * features[order])):
        assert adjusted_rand_score(found[order], other) == 1
    assert adjusted_rand_score(found, cluster(algorithm, features.astype(np.float32))) == 1


@pytest.mark.parametrize("clusters", [2, 3])
def test_no_partition_has_less_variance_within_than_k_means(clusters: int) -> None:
    features = np.random.default_rng(clusters).standard_normal((9, 2))

    def within(labels: np.ndarray) -> float:
        own = (features[labels == number] for number in np.unique(labels))
        return sum(((rows - rows.mean(0)) ** 2).sum() for rows in own)

    every = (np.array(labels) for labels in product(range(clusters), repeat=9))
    least = min(within(labels) for labels in every)
    assert within(cluster("kmeans", features, clusters=clusters)) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("clusters", [1, 2, 5, 9])
def test_agglomeration_cuts_scipys_tree(clusters: int) -> None:
    features, _ = groups(spread=3)
    expected = fcluster(linkage(features, "ward"), clusters, "maxclust")
    assert adjusted_rand_score(expected, cluster("agglomerative", features, clusters=clusters)) == 1


@pytest.mark.parametrize("algorithm", ["kmeans", "agglomerative"])
def test_the_number_is_that_of_the_largest_silhouette(algorithm: str) -> None:
    features, _ = groups(spread=4, dimensions=3, seed=3)
    scores = {k: silhouette_score(features, cluster(algorithm, features, clusters=k)) for k in range(2, 11)}
    assert count_of(cluster(algorithm, features)) == max(scores, key=lambda k: scores[k])


def test_a_mixture_uses_no_more_gaussians_than_it_may_and_others_as_many_as_they_are_told() -> None:
    features, _ = groups()
    assert [count_of(cluster("dp-gmm", features, clusters=most)) for most in (1, 4, 8, 12)] == [1, 4, 4, 4]
    for algorithm in ("kmeans", "agglomerative"):
        assert count_of(cluster(algorithm, features, clusters=7)) == 7


def test_rows_far_from_all_others_are_noise_to_density_alone() -> None:
    features, classes = groups()
    far = np.random.default_rng(9).standard_normal((6, 30)) * 60
    found = cluster("hdbscan", np.concatenate([far, features]))
    assert (found[:6] == -1).all() and count_of(found) == 4
    inside = found[6:] >= 0
    assert adjusted_rand_score(classes[inside], found[6:][inside]) == 1
    for algorithm in ("kmeans", "agglomerative", "dp-gmm"):
        assert (cluster(algorithm, np.concatenate([far, features])) >= 0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rows_too_few_or_all_the_same(algorithm: str) -> None:
    for rows in (np.zeros((0, 3)), np.ones((1, 3)), np.ones((30, 3))):
        assert cluster(algorithm, rows).tolist() == [0] * len(rows)
    two = np.repeat([[0.0, 0], [5, 5]], [12, 20], axis=0)
    assert cluster(algorithm, two, clusters=6).tolist() == [1] * 12 + [0] * 20
    assert cluster(algorithm, two).tolist() == [1] * 12 + [0] * 20
    pair = cluster(algorithm, np.array([[0.0], [1.0]]))
    assert pair.shape == (2,) and pair.min() >= -1


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'kmeans'"):
        cluster("k-means", np.zeros((3, 2)))
