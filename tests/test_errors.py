"""The exit codes that scripts rely on (SPEC 3)."""

from __future__ import annotations

import re

import pytest

import xaicli.errors
from xaicli.errors import XaicliError, nearest

CODES = {
    "XaicliError": 1,
    "UsageError": 2,
    "InputError": 65,
    "MissingError": 66,
    "UnavailableError": 69,
    "PluginError": 70,
    "ExistsError": 73,
    "OutputError": 74,
    "StoppedError": 75,
    "RefusedError": 77,
}


def test_every_error_has_the_exit_code_of_the_specification() -> None:
    found = {cls.__name__: cls.exit_code for cls in (XaicliError, *XaicliError.__subclasses__())}
    assert found == CODES


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    drawn = re.findall(r"([A-Z][a-z]+Error) (\d+)", xaicli.errors.__doc__ or "")
    assert {name: int(code) for name, code in drawn} == CODES


@pytest.mark.parametrize(
    ("word", "hint"),
    [("pdg", " Did you mean 'pgd'?"), ("PGD", " Did you mean 'pgd'?"), ("zzzzz", ""), ("", "")],
)
def test_the_nearest_spelling(word: str, hint: str) -> None:
    assert nearest(word, ["fgsm", "pgd"]) == hint
