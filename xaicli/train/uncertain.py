"""Recipes that leave a distribution over networks: what they make of one before training, and may start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from xaicli.errors import UsageError
from xaicli.models.arch import Arch
from xaicli.models.bayesian import to_mean_field
from xaicli.models.changes import MOST_MEMBERS, Changes
from xaicli.models.classifier import Classifier
from xaicli.models.dropout import to_dropout
from xaicli.models.mean_field import mean_field_layers
from xaicli.run.progress import say
from xaicli.specs import Spec
from xaicli.train.bayesian import kl_weight
from xaicli.train.source import Source

KINDS = {"bayesian": "mean-field", "mc-dropout": "mc-dropout", "ensemble": "ensemble"}
"""The posterior that a recipe leaves; all others leave one network."""


@dataclass(frozen=True)
class Uncertain:
    """What has been made of the network, and the checkpoint's `posterior`."""

    changes: Changes
    posterior: dict[str, Any] | None = None


def arch_of(arch: Arch, recipe: Spec, source: Source | None, frozen: Sequence[str]) -> Arch:
    """The architecture with as many networks as the recipe wants.

    Raises UsageError for a source or for frozen layers that the recipe has no use for.
    """
    kind = (source.meta.posterior or {}).get("kind") if source is not None else None
    if source is not None and kind == "ensemble":
        raise UsageError(f"'{source.path.name}' is an ensemble, from which no training can start; take one network.")
    if source is not None and kind is not None and kind != KINDS.get(recipe.name):
        raise UsageError(
            f"'{source.path.name}' is a distribution over networks ({kind}), with which --recipe {recipe.name} cannot "
            "go on; take the recipe that made it, or start from an ordinary checkpoint."
        )
    if recipe.name != "ensemble":
        return arch
    if source is not None or frozen:
        raise UsageError("an ensemble's networks differ by their first weights; leave --from and --freeze out.")
    members = recipe.options["k"]
    if not isinstance(members, int) or members > MOST_MEMBERS:
        raise UsageError(f"an ensemble can have at most {MOST_MEMBERS} networks, not {members}; choose a smaller k.")
    return replace(arch, changes=replace(arch.changes, members=members))


def make_uncertain(classifier: Classifier, arch: Arch, recipe: Spec, rows: int) -> Uncertain:
    """Change the classifier in place as the recipe wants it. Layers that are frozen stay as they are.

    rows: images of the training data. Raises InputError for a network that cannot be changed so, and UsageError for one
    of Gaussian weights whose deviations the recipe would not train.
    """
    network, changes, kind = classifier.network, arch.changes, KINDS.get(recipe.name)
    options: dict[str, Any] = recipe.options

    def frozen(name: str) -> bool:
        return not any(parameter.requires_grad for parameter in network.get_submodule(name).parameters())

    if kind != "mean-field" and mean_field_layers(network):
        raise UsageError(
            f"{arch.name} has Gaussian weights, whose deviations --recipe {recipe.name} would not train; add "
            "--recipe bayesian, or take another architecture."
        )
    if kind == "mean-field":
        weight = kl_weight(options["kl"], rows)
        say(f"KL(posterior, prior) counts {weight:.4g}, which is {weight * rows:.4g}/n for n = {rows:,} images.")
        if not mean_field_layers(network):
            changes = replace(changes, mean_field=tuple(to_mean_field(network, sigma=options["sigma"], keep=frozen)))
        prior = {"name": options["prior"], "scale": options["scale"]}
        return Uncertain(changes, {"kind": kind, "prior": prior, "kl": weight, "rows": rows})
    if kind == "mc-dropout":
        dropped = tuple(to_dropout(network, options["p"], keep=frozen))
        return Uncertain(
            replace(changes, dropout=dropped, share=float(options["p"])), {"kind": kind, "p": options["p"]}
        )
    if kind == "ensemble":
        return Uncertain(changes, {"kind": kind, "members": changes.members})
    return Uncertain(changes)
