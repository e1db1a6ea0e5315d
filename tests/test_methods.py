"""What the table promises of every method."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

from xaicli import methods, specs
from xaicli.methods import NOUNS, TABLE, describe, names

EVERY = [(verb, name) for verb in TABLE for name in TABLE[verb]]


@pytest.mark.parametrize(("verb", "name"), EVERY)
def test_every_method_documents_itself(verb: str, name: str) -> None:
    """What `ast` read is what Python sees, and there is a summary to show."""
    method = describe(verb, name)
    signature = inspect.signature(method.load())
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [(option.name, option.default) for option in method.options] == [(p.name, p.default) for p in keywords]
    positional = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert list(method.queries) == positional
    assert method.summary.endswith(".")
    assert method.description, "the docstring says shapes, range, units"


def test_names_and_aliases_are_kebab_case_and_unique() -> None:
    for verb, table in TABLE.items():
        every = [*table, *(alias for _, aliases in table.values() for alias in aliases)]
        assert len(set(every)) == len(every), verb
        assert all(name == name.lower() and "_" not in name for name in every)
    assert list(NOUNS) == list(TABLE)
    assert names("attack")[:2] == ["fgsm", "pgd"]


@pytest.mark.parametrize(("module", "below"), [(methods, set()), (specs, {"xaicli.methods"})])
def test_reading_the_table_imports_no_method(module: ModuleType, below: set[str]) -> None:
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name for name in imported if name.startswith("xaicli")}
    assert not ours - {"xaicli.errors", "xaicli.plugins", "xaicli.signatures"} - below
