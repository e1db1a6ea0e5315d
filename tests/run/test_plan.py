"""The planner: queries by name, options by name, each distinct question once."""

from __future__ import annotations

import pytest

from xaicli.run.plan import Answers, Queries, forwards, spread
from xaicli.run.random import Stream

ASKED: list[str] = []


@forwards(1)
def base(root: int, *, scale: float = 2.0) -> float:
    ASKED.append(f"base {scale}")
    return root * scale


@forwards(lambda steps, size: steps * size)
def walk(base: float, item: int, *, steps: int = 3) -> float:
    ASKED.append(f"walk {steps}")
    return base * steps + item


def noise(root: int, stream: Stream, *, sigma: float = 1.0) -> Stream:
    return stream


def first(walk: float, base: float, *, steps: int = 3, scale: float = 2.0) -> float:
    return walk - base


def second(base: float, *, scale: float = 2.0) -> float:
    return base


def drawn(noise: Stream, stream: Stream, *, sigma: float = 1.0) -> tuple[str, str]:
    return noise.name, stream.name


@spread("walk", over="lengths", option="steps")
def several(walk: tuple[float, ...], base: float, *, lengths: tuple[int, ...] = (2, 3)) -> tuple[float, ...]:
    return walk


QUERIES = Queries({"base": base, "walk": walk, "noise": noise}, frozenset({"root", "item"}))


@pytest.fixture(autouse=True)
def _forget() -> None:
    ASKED.clear()


def answers(**roots: int) -> Answers:
    return Answers(QUERIES, roots, seed=5, index=(7, 8))


def test_each_distinct_question_is_asked_once() -> None:
    asked = answers(root=10, item=1)
    assert asked.call(first, {"steps": 4}, "first") == 10 * 2.0 * 4 + 1 - 20
    assert asked.call(second, {}, "second") == 20
    assert ASKED == ["base 2.0", "walk 4"]
    assert asked.call(second, {"scale": 3.0}, "second") == 30
    assert asked.call(first, {"steps": 4, "scale": 3.0}, "first") == 30 * 4 + 1 - 30
    assert ASKED == ["base 2.0", "walk 4", "base 3.0", "walk 4"]


def test_options_that_differ_in_the_last_digit_are_two_questions() -> None:
    asked = answers(root=1, item=0)
    assert asked.ask("base", {"scale": 0.1234567}) == 0.1234567
    assert asked.ask("base", {"scale": 0.1234568}) == 0.1234568


def test_what_does_not_touch_the_inner_roots_is_shared() -> None:
    outer = answers(root=10)
    inside = [outer.within({"item": item}) for item in (1, 2)]
    assert [inner.call(first, {}, "first") for inner in inside] == [10 * 2 * 3 + 1 - 20, 10 * 2 * 3 + 2 - 20]
    assert ASKED == ["base 2.0", "walk 3", "walk 3"]  # base once for both


def test_a_stream_is_named_by_the_query_and_its_options() -> None:
    asked = answers(root=0)
    assert asked.call(drawn, {"sigma": 0.5}, "drawn:sigma=0.5") == ("noise:sigma=0.5", "drawn:sigma=0.5")
    stream = asked.ask("noise", {})
    assert (stream.name, stream.seed, stream.index) == ("noise:sigma=1.0", 5, (7, 8))


def test_planned_forwards_count_what_is_shared_once() -> None:
    assert QUERIES.planned([(first, {}), (second, {})], 10) == 1 + 3 * 10
    assert QUERIES.planned([(first, {}), (second, {"scale": 4.0})], 10) == 2 + 3 * 10
    assert QUERIES.planned([(first, {"steps": 2}), (first, {"steps": 5})], 10) == 1 + 7 * 10
    assert QUERIES.planned([(first, {}), (second, {})], 10, without="item") == 1
    assert QUERIES.below(first) == ["root", "base", "item", "walk"]


def test_a_query_spread_over_an_option_is_asked_for_each_value_and_shared_with_single_ones() -> None:
    asked = answers(root=10, item=1)
    assert asked.call(several, {"lengths": (4, 3)}, "several") == (81.0, 61.0)
    assert asked.call(first, {}, "first") == 41.0  # its own walk of 3 steps is known
    assert ASKED == ["base 2.0", "walk 4", "walk 3"]
    assert asked.call(several, {}, "several") == (41.0, 61.0)
    assert QUERIES.planned([(several, {"lengths": (4, 3)}), (first, {})], 5) == 1 + 5 * (4 + 3)
    assert QUERIES.planned([(several, {}), (first, {})], 5) == 1 + 5 * (2 + 3)
