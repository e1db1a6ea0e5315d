"""The planner: methods name the queries they need, each distinct query is asked once and its answer handed out.

It works as pytest's fixtures do. A method's positional parameters name queries, its keyword-only parameters are
options. A query is such a function too; an option reaches the queries below a method under the same name. A query
together with the options it and its own queries use is its key: the answer is shared under it, and it names the query's
random stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from xaicli.run.random import Stream

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

STREAM = "stream"  # the parameter that receives a query's own random stream


def forwards(count: Callable[..., int] | int, *, tail: bool = False) -> Callable[[F], F]:
    """Declare how many forwards per row a query costs: a number, or a function of facts by their names.

    It may name the query's options, `size` (the image's pixels) and `channels` (the number of channels of a layer).
    tail: they pass through the network above a layer only.
    """

    def mark(function: F) -> F:
        function.forwards, function.tail = count, tail  # type: ignore[attr-defined]
        return function

    return mark


def spread(query: str, over: str, option: str) -> Callable[[F], F]:
    """Declare that a method gets a tuple of a query's answers, one for each value of its own option `over`.

    option: what that value is to the query. Methods that ask for single values share the answers.
    """

    def mark(function: F) -> F:
        function.spread = {**getattr(function, "spread", {}), query: (over, option)}  # type: ignore[attr-defined]
        return function

    return mark


def variants(function: Function, need: str, options: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The options that a method's need is asked with, one set for each value it is spread over; None if it is not."""
    if need not in getattr(function, "spread", {}):
        return None
    over, option = function.spread[need]  # type: ignore[attr-defined]
    default = dict(signature(function).options)[over]
    return [{**options, option: value} for value in options.get(over, default)]


@dataclass(frozen=True)
class Signature:
    """A function's parameters as the planner sees them."""

    needs: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]


@cache
def signature(function: Function) -> Signature:
    """Positional parameters are queries, keyword-only ones options with defaults."""
    parameters = inspect.signature(function).parameters.values()
    return Signature(
        tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY),
        tuple((p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY),
    )


class Queries:
    """A family of queries by name, and the roots (facts about the block) that they start from."""

    def __init__(self, functions: Mapping[str, Function], roots: frozenset[str]) -> None:
        self.functions = dict(functions)
        self.roots = roots | {STREAM}

    def key(self, name: str, options: Mapping[str, Any]) -> str:
        """`name:option=value,...` over all options that matter for this query, sorted."""
        used = self.used_options(name, options)
        return f"{name}:{','.join(f'{k}={used[k]}' for k in sorted(used))}" if used else name

    def used_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a query and of all queries below it, with their effective values."""
        if name in self.roots:
            return {}
        parts = signature(self.functions[name])
        used = {k: options.get(k, default) for k, default in parts.options}
        for need in parts.needs:
            used.update(self.used_options(need, options))
        return used

    def below(self, function: Function) -> list[str]:
        """All queries and roots that a function rests on, depth first, each once."""
        found: list[str] = []

        def visit(current: Function) -> None:
            for need in signature(current).needs:
                if need not in found:
                    if need not in self.roots:
                        visit(self.functions[need])
                    found.append(need)

        visit(function)
        return found

    def planned(
        self,
        methods: Sequence[tuple[Function, Mapping[str, Any]]],
        size: int,
        *,
        without: str | None = None,
        channels: Callable[[str], int] | None = None,
        tails: int = 1,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> int:
        """Forwards per row that these methods cost together; `size` is the image's number of pixels.

        `without`: leave out the queries that rest on this root. `channels`: how many a layer has; only the model knows,
        so it is looked up when a query depends on it. `tails`: how many passes through the network above a layer cost
        as much as a forward. `facts`: what else costs depend on, by name.
        """
        facts = {"size": size, "channels": channels, **facts}
        costs: dict[str, int] = {}
        for function, given in methods:
            for name, options in self._questions(function, given):
                if without and without in self.below(self.functions[name]):
                    continue
                count = getattr(self.functions.get(name), "forwards", 0)
                if callable(count):
                    used = self.used_options(name, options)
                    names = inspect.signature(count).parameters
                    count = count(**{k: v for k, v in {**used, **facts}.items() if k in names})
                if getattr(self.functions.get(name), "tail", False):
                    count = -(-count // tails)
                costs[self.key(name, options)] = count
        return sum(costs.values())

    def _questions(self, function: Function, options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every query that a method rests on, with the options it is asked with."""
        for need in signature(function).needs:
            if need not in self.roots:
                for varied in variants(function, need, options) or [options]:
                    for name in [*self.below(self.functions[need]), need]:
                        if name not in self.roots:
                            yield name, varied


class Answers:
    """The answers for one block. `shared` holds answers that do not depend on the roots added here."""

    def __init__(self, queries: Queries, roots: Mapping[str, Any], *, seed: int, index: tuple[int, ...]) -> None:
        self._queries = queries
        self._roots = dict(roots)
        self._seed, self._index = seed, index
        self._known: dict[str, Any] = {}
        self._shared: Answers | None = None

    def within(self, roots: Mapping[str, Any]) -> Answers:
        """The same block seen with further roots (one attribution map of several, say); common answers stay shared."""
        inner = Answers(self._queries, roots, seed=self._seed, index=self._index)
        inner._shared = self
        return inner

    def anew(self, roots: Mapping[str, Any]) -> Answers:
        """The same rows asked from other roots: nothing is shared but the random numbers."""
        return Answers(self._queries, roots, seed=self._seed, index=self._index)

    def ask(self, name: str, options: Mapping[str, Any]) -> Any:
        """The answer to one query, asked at most once per key."""
        if name in self._roots:
            return self._roots[name]
        if self._shared is not None and not self._touches(name):
            return self._shared.ask(name, options)
        key = self._queries.key(name, options)
        if key not in self._known:
            self._known[key] = self.call(self._queries.functions[name], options, key)
        return self._known[key]

    def call(self, function: Function, options: Mapping[str, Any], key: str) -> Any:
        """Call a method or a query with the answers it names."""
        parts = signature(function)
        needs: list[Any] = []
        for need in parts.needs:
            varied = variants(function, need, options)
            if need == STREAM:
                needs.append(Stream(self._seed, key, self._index))
            elif varied is None:
                needs.append(self.ask(need, options))
            else:
                needs.append(tuple(self.ask(need, each) for each in varied))
        return function(*needs, **{name: options.get(name, default) for name, default in parts.options})

    def method_key(self, name: str, options: Mapping[str, Any]) -> str:
        """The random stream of a method that draws numbers itself: its name and options."""
        return f"{name}:{','.join(f'{k}={v}' for k, v in sorted(options.items()))}"

    def _touches(self, name: str) -> bool:
        if name in self._queries.roots:
            return False
        return any(need in self._roots for need in self._queries.below(self._queries.functions[name]))
