"""Options of an architecture: names and types come from the signature of the function that builds it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from xaicli.errors import InputError, PluginError, UsageError, nearest
from xaicli.signatures import Value, coerce, parse_number


def check_names(name: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise UsageError, with the nearest spelling, for an option that the architecture `name` does not have."""
    for key in given:
        if key not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"'{name}' has no option '{key}'.{nearest(key, known)} Its options are: {listed}.")


def coerce_option(name: str, key: str, text: str, parameter: inspect.Parameter | None) -> Value:
    """Turn text into the type that a parameter declares, or that its default has, or that the text looks like."""
    annotation = _annotation(parameter)
    if annotation is None:
        return _as_it_looks(text)
    try:
        return coerce(text, annotation)
    except ValueError as error:
        raise UsageError(f"'{name}:{key}={text}' is not valid: {error}.") from None
    except (LookupError, SyntaxError):
        raise PluginError(
            f"the option {key} of '{name}' has the type {annotation}, which the command line cannot read; "
            "annotate it with int, float, bool or str."
        ) from None


def _annotation(parameter: inspect.Parameter | None) -> str | None:
    if parameter is None:
        return None
    if parameter.annotation is not parameter.empty:
        return inspect.formatannotation(parameter.annotation).strip("'\"")
    if isinstance(parameter.default, bool | int | float | str):
        return type(parameter.default).__name__
    return None


def _as_it_looks(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = parse_number(text)
    except ValueError:
        return text
    return int(text) if text.lstrip("+-").isdigit() else number


def restore_option(key: str, value: object, what: str) -> Value:
    """An option as a checkpoint's JSON gave it back, where a tuple has become a list; `what` names the checkpoint."""
    if isinstance(value, list) and all(isinstance(item, int | float | str) for item in value):
        return tuple(value)
    if value is None or isinstance(value, int | float | str):
        return value
    raise InputError(f"{what} has a bad value for the option '{key}' of its architecture; write the file again.")
