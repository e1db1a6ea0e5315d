"""What a number alone does not say of a metric, told to the person watching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xaicli.evaluate import audit, clustering, frechet, membership
from xaicli.files.record import Record
from xaicli.run.progress import say, warn

STATEMENTS = {
    "violated": audit.statement,
    "variant": membership.statement,
    "unreliable": frechet.statement,
    "fewest": clustering.statement,
}
"""What is said of a metric whose record has a detail of this name."""


def told(records: Iterable[Record]) -> Iterator[Record]:
    """The same records; a promise that was broken and a figure that cannot be relied on are warnings."""
    for record in records:
        yield record
        details = record.get("details", {})
        for name, statement in STATEMENTS.items():
            if name in details:
                (warn if details.get("violated") or details.get("unreliable") else say)(
                    statement(record["name"], record["value"], details)
                )
