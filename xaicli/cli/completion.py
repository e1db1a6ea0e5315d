"""What the shell offers when a method name is being typed."""

from __future__ import annotations

from collections.abc import Callable

from xaicli.methods import describe, names


def complete(verb: str) -> Callable[[str], list[tuple[str, str]]]:
    """A completer of `NAME[:option=]` for one verb; the help text beside a name is its summary."""

    def offer(incomplete: str) -> list[tuple[str, str]]:
        name, colon, tail = incomplete.partition(":")
        if not colon:
            return [(known, describe(verb, known).summary) for known in names(verb) if known.startswith(name)]
        if name not in names(verb):
            return []
        done, comma, last = tail.rpartition(",")
        options = describe(verb, name).options
        return [
            (f"{name}:{done}{comma}{option.key}=", option.type_text)
            for option in options
            if option.key.startswith(last)
        ]

    return offer
