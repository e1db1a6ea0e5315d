"""The README's table of methods and families of networks is what some quick families say."""

from __future__ import annotations

import pytest

from tests.explain.support import END, README, START, asked, read, table
from tests.models.families import FAMILIES
from xaicli.methods import names

QUICK = ("cnn", "mlp", "vit", "swin")


def shown() -> str:
    text = README.read_text(encoding="utf-8")
    return text.split(START)[1].split(END)[0]


def test_every_family_and_every_method_is_in_the_table() -> None:
    codes = read(shown())
    assert list(codes) == list(FAMILIES)
    assert all(row.keys() == set(names("explain")) for row in codes.values())
    assert {code for row in codes.values() for code in row.values()} <= {0, 65, 69}


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK)
def test_the_table_is_not_stale(family: str) -> None:
    """`python -m tests.explain.support --write` makes it anew."""
    found = asked([family])[family]
    assert {name: ended.code for name, ended in found.items()} == read(shown())[family]


def test_a_table_says_what_was_written() -> None:
    codes = {"a": {"x": 0, "y": 69, "z": 0}, "b:c": {"x": 0, "y": 0, "z": 0}, "d": {"x": 65, "y": 69, "z": 65}}
    text = table(codes)
    assert read(text) == codes
    assert (
        text
        == """* **A**: `x`, `z`
* **B**: `y`

| network | A | B |
|---|---|---|
| `a` | yes | 69 |
| `b:c` | yes | yes |
| `d` | 65 | 69 |
"""
    )
