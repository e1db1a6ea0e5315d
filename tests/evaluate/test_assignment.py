"""Clusters against classes: every permutation tried, entropies and pairs counted."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaicli.evaluate.assignment import adjusted_rand, assign, assigned_right, contingency, mutual_information

PAIRS = st.lists(st.tuples(st.integers(-1, 3), st.integers(2, 5)), min_size=1, max_size=25)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    clusters, classes = zip(*pairs, strict=True)
    return np.array(clusters, dtype=np.int64), np.array(classes, dtype=np.int64)


@settings(deadline=None)
@given(PAIRS)
def test_no_assignment_of_clusters_to_classes_is_better(pairs: list[tuple[int, int]]) -> None:
    names = range(2, 6)
    most = max(sum(dict(enumerate(order)).get(one) == other for one, other in pairs) for order in permutations(names))
    right = assigned_right(*arrays(pairs))
    assert right.sum() == most and right.shape == (len(pairs),) and {*right} <= {0, 1}
    assert not right[arrays(pairs)[0] == -1].any()
    chosen = assign(*arrays(pairs))
    assert len({*chosen.values()}) == len(chosen) and -1 not in chosen


def entropy(counts: list[int], n: int) -> float:
    return -sum(count / n * log(count / n) for count in counts)


@settings(deadline=None)
@given(PAIRS)
def test_mutual_information_is_what_the_entropies_say(pairs: list[tuple[int, int]]) -> None:
    n = len(pairs)
    own, other, both = (entropy([*Counter(part).values()], n) for part in (*zip(*pairs, strict=True), pairs))
    expected = 1.0 if own == other == 0 else 2 * (own + other - both) / (own + other)
    assert mutual_information(*arrays(pairs)) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(PAIRS)
def test_the_rand_index_counts_pairs_and_is_adjusted_for_chance(pairs: list[tuple[int, int]]) -> None:
    both = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(pairs, 2)]
    together = sum(a and b for a, b in both)
    one, other = (sum(pair[side] for pair in both) for side in (0, 1))
    chance = one * other / len(both) if both else 0.0
    most = (one + other) / 2
    expected = 1.0 if most == chance else (together - chance) / (most - chance)
    assert adjusted_rand(*arrays(pairs)) == pytest.approx(expected, abs=1e-9)


def test_named_cases() -> None:
    classes = np.repeat([7, 4, 9], [5, 4, 3])
    same = np.repeat([2, 0, 1], [5, 4, 3])
    assert assign(same, classes) == {2: 7, 0: 4, 1: 9} and assigned_right(same, classes).all()
    assert mutual_information(same, classes) == pytest.approx(1) and adjusted_rand(same, classes) == 1
    one = np.zeros(12, dtype=np.int64)
    assert assigned_right(one, classes).mean() == 5 / 12 and assign(one, classes) == {0: 7}
    assert mutual_information(one, classes) == 0 and adjusted_rand(one, classes) == 0
    noise = one - 1
    assert assign(noise, classes) == {} and assigned_right(noise, classes).sum() == 0
    many = np.arange(12)  # a cluster for each row: three of them get a class
    assert assigned_right(many, classes).sum() == 3
    assert contingency(same, classes).tolist() == [[4, 0, 0], [0, 0, 3], [0, 5, 0]]
    nothing = np.zeros(0, dtype=np.int64)
    assert mutual_information(nothing, nothing) is None and adjusted_rand(nothing, nothing) is None
    assert assigned_right(nothing, nothing).shape == (0,)
