"""`xaicli methods`: what exists, with options and sources, read from signatures and docstrings alone."""

from __future__ import annotations

from typing import Annotated

import typer

from xaicli.cli.metric_page import metric_page
from xaicli.cli.options import Display, command
from xaicli.cli.output import OUTPUT
from xaicli.errors import UsageError, nearest
from xaicli.files.record import plain_record
from xaicli.methods import NOUNS, Method, describe, names
from xaicli.signatures import show
from xaicli.train.preset import load_preset, preset_names

EXAMPLES = """
xaicli methods
xaicli methods explain
xaicli methods explain integrated-gradients
xaicli methods attack --format json | jq -r .name
"""


DRAWS = (
    "Of an uncertain checkpoint (bayesian, mc-dropout, ensemble) it also takes draws=N, how many networks are drawn",
    "from it: 20 unless given, or all members of an ensemble; 0 is the one plain network of mean weights.",
)


TPR = (
    "It also takes tpr=SHARE, 0.95 unless given: so many of the held-out rows of known classes score at least the",
    "threshold, below which a row is called UNKNOWN.",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "methods", examples=EXAMPLES, rich_help_panel="Helpers")(methods)


def methods(
    verb: Annotated[str | None, typer.Argument(help="train, attack, explain, evaluate, generate or detector.")] = None,
    name: Annotated[str | None, typer.Argument(help="One method, for its page.")] = None,
    *,
    display: Display,
) -> None:
    """List every recipe, attack, attribution method, metric, generator and detector, or show one method's page."""
    if verb is not None and verb not in NOUNS:
        raise UsageError(f"'{verb}' is no verb with methods.{nearest(verb, NOUNS)} Use one of {', '.join(NOUNS)}.")
    if verb is not None and name is not None:
        method = describe(verb, name)
        if OUTPUT.tabular:
            OUTPUT.page(_page(method))
        else:
            OUTPUT.record(_record(method, whole=True))
        return
    for one in [verb] if verb else NOUNS:
        for known in names(one):
            OUTPUT.record(_record(describe(one, known), whole=False))
    if verb == "train":
        for preset in map(load_preset, preset_names()):
            OUTPUT.record(plain_record("preset", name=preset.name, options=preset.options, summary=preset.about))


def _record(method: Method, *, whole: bool) -> dict[str, object]:
    options = {option.key: show(option.default) for option in method.options}
    record = plain_record("method", verb=method.verb, name=method.name, aliases=list(method.aliases))
    record |= {"options": options, "summary": method.summary}
    if whole:
        types = {option.key: option.type_text for option in method.options}
        record |= {"types": types, "description": method.description}
        if method.takes_draws:
            record["draws"] = " ".join(DRAWS)
        if method.verb == "detector":
            record["tpr"] = " ".join(TPR)
        if method.verb == "evaluate":
            record |= metric_page(method).record
    return record


def _page(method: Method) -> str:
    also = f" (also {', '.join(method.aliases)})" if method.aliases else ""
    lines = [f"{method.verb} {method.name}{also}", "", method.summary, "", method.description, ""]
    if method.options:
        width = max(len(option.key) for option in method.options)
        lines.append("Options, written " + method.name + ":name=value,...")
        lines += [f"  {o.key:<{width}}  {o.type_text}, default {show(o.default)}" for o in method.options]
    else:
        lines.append("It has no options.")
    if method.takes_draws:
        lines += ["", *DRAWS]
    if method.verb == "detector":
        lines += ["", *TPR]
    if method.verb == "evaluate":
        lines += ["", *metric_page(method).lines]
    return "\n".join(lines)
