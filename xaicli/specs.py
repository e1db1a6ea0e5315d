"""The one grammar `NAME[:k=v,...]` that names a method with its options, and reads back what records show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xaicli.errors import UsageError, nearest
from xaicli.methods import Method, describe, plugged
from xaicli.plugins import in_file
from xaicli.signatures import Option, Value, show

_IN_FILE = re.compile(r"(.+\.py):([A-Za-z_]\w*)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A method together with all its options: the parsed form of `NAME[:k=v,...]`.

    draws: how many networks are drawn from an uncertain checkpoint, 0 for the one plain network, None unless given.
    usual: what draws is then, once the checkpoint is known. Neither is an option that the method's function gets.
    """

    method: Method
    values: tuple[tuple[str, Value], ...]
    draws: int | None = None
    usual: int | None = field(default=None, compare=False)

    @property
    def verb(self) -> str:
        """The verb the method belongs to."""
        return self.method.verb

    @property
    def name(self) -> str:
        """The method's full name; an alias never gets this far."""
        return self.method.name

    @property
    def options(self) -> dict[str, Value]:
        """Every option by its Python name, defaults included."""
        return dict(self.values)

    @property
    def changed(self) -> dict[str, Value]:
        """The options whose value is not the default, draws included."""
        defaults = {option.name: option.default for option in self.method.options}
        changed = {name: value for name, value in self.values if value != defaults[name]}
        return changed if self.draws == self.usual else {**changed, "draws": self.draws}

    @property
    def record(self) -> dict[str, Any]:
        """The options as a record or a job shows them (command-line names)."""
        options: dict[str, Any] = {
            name.replace("_", "-"): list(value) if isinstance(value, tuple) else value for name, value in self.values
        }
        return options if self.draws is None else {**options, "draws": self.draws}

    def drawn(self, usual: int, checkpoint: str) -> Spec:
        """The same, asked of a checkpoint of which so many networks are usually drawn; 0: there is but one.

        Raises UsageError for draws where there is nothing to draw. A method with an option `draws` of its own is left
        as it is.
        """
        if not self.method.takes_draws:
            return self
        if usual:
            return replace(self, draws=usual if self.draws is None else self.draws, usual=usual)
        if self.draws:
            raise UsageError(
                f"'{checkpoint}' is one network, of which nothing can be drawn; leave draws={self.draws} out, or name "
                "a checkpoint that was trained with bayesian, mc-dropout or ensemble."
            )
        return replace(self, draws=None)

    def __str__(self) -> str:
        changed = ",".join(f"{name.replace('_', '-')}={show(value)}" for name, value in self.changed.items())
        return f"{self.name}:{changed}" if changed else self.name


def parse_spec(verb: str, text: str, extra: Mapping[str, str] | None = None) -> Spec:
    """Parse `NAME[:k=v,...]` against the method's signature.

    A piece without `=` continues the value before it, so that lists can be written `eps=1/255,2/255`. `extra` are
    options that the command sets for every method that has them and whose specification does not.
    """
    file = _IN_FILE.fullmatch(text)
    if file and verb != "explain":
        raise UsageError(f"'{text}' names a function in a file, which only `explain -m` takes; install a package.")
    name, _, tail = text.partition(":")
    tail = (file[3] or "") if file else tail
    method = plugged(verb, in_file(Path(file[1]), file[2])) if file else describe(verb, name.strip())
    known = {option.key: option for option in method.options}
    if method.takes_draws:
        known["draws"] = Option("draws", "Whole", None, optional=True)
    given = split_options(tail, text)
    for key, value in (extra or {}).items():
        if key in known:
            given.setdefault(key, value)
    values: dict[str, Value] = {option.name: option.default for option in method.options}
    for key, value in given.items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            listed = ", ".join(own.key for own in method.options) or "none"
            raise UsageError(f"'{method.name}' has no option '{key}'.{nearest(key, known)} Its options are: {listed}.")
        try:
            values[option.name] = option.parse(value)
        except ValueError as error:
            raise UsageError(f"'{method.name}:{key}={value}' is not valid: {error}.") from None
    draws = values.pop("draws", None) if method.takes_draws else None
    return Spec(method, tuple(values.items()), draws if isinstance(draws, int) else None)


def recorded_spec(verb: str, name: str, record: Mapping[str, Any]) -> Spec:
    """The specification that a record or a job shows; UsageError for what this version does not know."""
    method = describe(verb, name)
    draws = record.get("draws") if method.takes_draws else None
    known = {option.key for option in method.options} | ({"draws"} if method.takes_draws else set())
    if unknown := sorted(record.keys() - known):
        raise UsageError(f"'{name}' has no option '{unknown[0]}' in this version of xaicli; use the one that wrote it.")
    found = {option.name: record.get(option.key, option.default) for option in method.options}
    return Spec(method, tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in found.items()), draws)


def split_options(tail: str, text: str) -> dict[str, str]:
    """Split `k=v,k2=v2` into a dictionary; UsageError for a key without a value or given twice."""
    given: dict[str, str] = {}
    last = ""
    for piece in filter(None, (piece.strip() for piece in tail.split(","))):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals and last:
            given[last] += f",{piece}"
            continue
        if not equals or not value:
            raise UsageError(f"'{text}' cannot be read: write options as NAME:key=value,key=value.")
        if key.replace("_", "-") in {known.replace("_", "-") for known in given}:
            raise UsageError(f"'{text}' gives the option '{key}' twice; give it once.")
        given[key] = value
        last = key
    return given
