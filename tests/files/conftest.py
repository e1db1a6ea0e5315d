"""A small job whose rows are known numbers, for the tests of the stores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from xaicli.files.columns import attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.store import Store
from xaicli.files.writer import StoreWriter


@dataclass(frozen=True)
class Example:
    """Thirteen rows in blocks of four, with every kind of column, a curve and an aggregate."""

    layout: StoreLayout

    def with_layout(self, **changes) -> Example:
        return Example(replace(self.layout, **changes))

    def rows(self, block: int) -> dict[str, object]:
        layout, count = self.layout, self.layout.block_rows(block)
        first = block * layout.block
        random = np.random.default_rng(block)
        return {
            "index": np.arange(first, first + count),
            "label": random.integers(0, 3, count),
            "status": np.ones(count, dtype=np.int64),
            "key": [f"é{row}" for row in range(first, first + count)],
            "sample": random.integers(0, 256, (count, 16)),
            "target": random.integers(0, 3, count),
            "against": np.full(count, 65535),
            "prediction": random.standard_normal((count, 3)).astype(np.float32),
            "completeness": random.standard_normal(count).astype(np.float32),
            "attribution": random.standard_normal((count, *layout.column("attribution").shape)).astype(np.float32),
        }

    def sums(self, block: int) -> dict[str, np.ndarray]:
        count = self.layout.block_rows(block)
        return {"deletion": np.array([0.1 * block, 0.2, 1 / 3, count])}

    def summarise(self, merged) -> dict[str, object]:
        gap = merged.column("completeness").astype(np.float64)
        return {"aggregates/gap": np.array([gap.mean(), gap.std()]), "aggregates/note": '{"n":13}'}

    def write(self, writer: StoreWriter, blocks) -> None:
        for block in blocks:
            writer.write(block, self.rows(block), self.sums(block))

    def store(self, path: Path) -> Store:
        with StoreWriter(path, self.layout) as writer:
            self.write(writer, range(self.layout.blocks))
            return writer.finish(self.summarise)


@pytest.fixture
def example() -> Example:
    columns = attribution_columns(shape=(1, 4, 4), classes=3, key_length=4, completeness=True)
    return Example(
        StoreLayout(
            kind="attributions",
            job={"verb": "explain", "method": "gradcam", "block": 4},
            history=({"verb": "train", "options": {"epochs": 3}},),
            rows=13,
            block=4,
            columns=columns,
            curves={"deletion": 3},
            attributes={"class_names": ["ant", "bee", "cat"]},
        )
    )


@pytest.fixture
def sha256():
    return lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
