"""A class as a person names it."""

from __future__ import annotations

from collections.abc import Sequence

from xaicli.errors import UsageError, nearest

FORCED = "name:"


def class_number(text: str, classes: Sequence[str], of: str, other_words: Sequence[str] = ()) -> int:
    """The number of a class given by number or name; a number wins, unless `name:...` forces the name.

    of: whose classes they are, and other_words: what else could have been meant, for the UsageError.
    """
    text = text.strip()
    if text.startswith(FORCED):
        text = text.removeprefix(FORCED)
    elif text.isdecimal() and int(text) < len(classes):
        return int(text)
    if text in classes:
        return list(classes).index(text)
    hint = nearest(text, [*classes, *other_words])
    raise UsageError(f"'{text}' is no class of {of}.{hint} Name one of its {len(classes)} classes or an index.")
