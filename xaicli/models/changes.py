"""What a recipe has made of an architecture's network: told by the checkpoint, and done again when that is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xaicli.errors import InputError

if TYPE_CHECKING:
    from torch import nn

MOST_MEMBERS = 100
"""Networks of an ensemble; a checkpoint that nobody vouches for must not make its reader build a million."""


@dataclass(frozen=True)
class Changes:
    """Names are of layers, or of norms, in the network as the architecture builds it."""

    norms: tuple[str, ...] = ()
    """BatchNorms that GroupNorms have replaced."""
    mean_field: tuple[str, ...] = ()
    """Layers whose weights have a mean and a deviation each."""
    dropout: tuple[str, ...] = ()
    """Layers of whose inputs units are dropped."""
    share: float = 0.0
    """The probability with which one is."""
    members: int = 0
    """Networks of an ensemble; 0 for one network that is none."""

    @property
    def record(self) -> dict[str, Any]:
        """What the checkpoint stores, which is nothing of a network that has not been changed."""
        record: dict[str, Any] = {}
        if self.norms:
            record["norms"] = {"group": list(self.norms)}
        if self.mean_field:
            record["mean_field"] = list(self.mean_field)
        if self.dropout:
            record["dropout"] = {"p": self.share, "layers": list(self.dropout)}
        if self.members:
            record["members"] = self.members
        return record


def recorded_changes(record: Mapping[str, Any], what: str) -> Changes:
    """The changes that a checkpoint names. `what`: its name for the InputError about those that nobody can make."""
    norms, dropout = record.get("norms", {"group": []}), record.get("dropout", {"p": 0.0, "layers": []})
    members = record.get("members", 0)
    lists = [
        norms.get("group") if isinstance(norms, dict) and len(norms) == 1 else None,
        record.get("mean_field", []),
        dropout.get("layers") if isinstance(dropout, dict) and dropout.keys() == {"p", "layers"} else None,
    ]
    named = all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)
    if not named or type(dropout["p"]) is not float or not 0 <= dropout["p"] < 1:
        raise InputError(f"{what} changes layers in a way that this version of xaicli does not know; write it again.")
    if type(members) is not int or not 0 <= members <= MOST_MEMBERS:
        raise InputError(f"{what} holds {members!r} networks, but there can be 0 to {MOST_MEMBERS}; write it again.")
    group, mean_field, dropped = (tuple(names or ()) for names in lists)
    return Changes(group, mean_field, dropped, dropout["p"], members)


def changed(build: Callable[[], nn.Module], changes: Changes, what: str) -> nn.Module:
    """The network that `build` makes, changed; an ensemble is built one member after another.

    Raises InputError when it lacks a layer that was changed.
    """
    if changes.members:
        from xaicli.models.ensemble import Ensemble

        return Ensemble([_changed(build(), changes, what) for _ in range(changes.members)])
    return _changed(build(), changes, what)


def _changed(network: nn.Module, changes: Changes, what: str) -> nn.Module:
    if changes.norms:
        from xaicli.models.group_norm import replay_group_norms

        replay_group_norms(network, changes.norms, what)
    if changes.mean_field:
        from xaicli.models.bayesian import to_mean_field

        _check(to_mean_field(network, keep=lambda name: name not in changes.mean_field), changes.mean_field, what)
    if changes.dropout:
        from xaicli.models.dropout import to_dropout

        found = to_dropout(network, changes.share, keep=lambda name: name not in changes.dropout)
        _check(found, changes.dropout, what)
    return network


def _check(found: list[str], named: tuple[str, ...], what: str) -> None:
    if lost := sorted({*named} - {*found}):
        raise InputError(f"{what} says that its layer '{lost[0]}' was made uncertain, but has none; write it again.")
