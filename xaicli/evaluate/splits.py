"""Several trainings that differ in the classes they know: each figure's mean over them, with its interval."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xaicli.evaluate.records import FIELDS, STANDING
from xaicli.evaluate.statistics import split_estimate
from xaicli.files.record import Record, plain_record

SAME = tuple(field for field in FIELDS if field not in ("value", "low", "high", "n", "undefined"))


@dataclass(frozen=True)
class Split:
    """The metric records of one scores store, and the classes that its checkpoints know; none for all."""

    known: tuple[int, ...]
    records: Sequence[Record]


def over_splits(splits: Sequence[Split]) -> Iterator[Record]:
    """A record for each figure that every training has: mean, Student's t interval, and the value of each.

    Nothing unless they know different classes of the same data. n: how many trainings there are.
    """
    if len({split.known for split in splits}) < 2 or not all(split.known for split in splits):
        return
    found: dict[str, list[tuple[Split, Record]]] = {}
    for split in splits:
        for record in split.records:
            if record["kind"] == "metric" and "with" not in record:
                found.setdefault(_figure(record), []).append((split, record))
    trainings = max(map(len, found.values()), default=0)
    for members in found.values():
        if len(members) == trainings:
            yield _mean(members)


def _figure(record: Mapping[str, Any]) -> str:
    """What makes two records the same figure of two trainings."""
    return json.dumps([record["metric"], record.get("detector"), record["options"]], sort_keys=True)


def _mean(members: Sequence[tuple[Split, Record]]) -> Record:
    first = members[0][1]
    values = [record["value"] for _, record in members]
    estimate = split_estimate(np.array([np.nan if value is None else value for value in values]))
    name = f"{len(members)} splits"
    return plain_record(
        "metric",
        metric=first["metric"],
        method=first["method"],
        **asdict(estimate),
        **{field: first.get(field) for field in SAME},
        name=first.get("detector") or name,
        group=0,
        control=False,
        **dict.fromkeys(STANDING),
        **({"detector": first["detector"]} if "detector" in first else {}),
        splits=[
            {"checkpoint": record["parents"]["checkpoint"]["id"], "known": list(split.known), "value": record["value"]}
            for split, record in members
        ],
        parents={},
    )
