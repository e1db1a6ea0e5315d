"""The interval of a proportion where it has a closed form."""

from __future__ import annotations

import pytest

from xaicli.run.interval import clopper_pearson, student


@pytest.mark.parametrize("n", [20, 57, 1000])
def test_none_and_all(n: int) -> None:
    rim = 0.025 ** (1 / n)
    assert clopper_pearson(0, n) == pytest.approx((0, 1 - rim))
    assert clopper_pearson(n, n) == pytest.approx((rim, 1))


def test_a_published_one() -> None:
    # Newcombe (1998), table I, method 5: 81 of 263 and 15 of 148
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(15, 148) == pytest.approx((0.0578, 0.1617), abs=5e-5)


def test_none_for_few() -> None:
    assert clopper_pearson(3, 19) == (None, None)


def test_the_mean_of_few_repetitions_has_students_interval() -> None:
    # t(.975) is 12.7062 with one degree of freedom and 2.77645 with four
    assert student([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    reach = 2.77645 * 2.5**0.5 / 5**0.5
    assert student([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((3 - reach, 3 + reach), abs=1e-4)
    assert student([1.0]) == (None, None)
