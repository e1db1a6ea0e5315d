"""Signatures read without importing them: values, and functions in files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xaicli
from xaicli.methods import TABLE
from xaicli.signatures import coerce, definition, parse_number


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("8/255", "float", 8 / 255),
        (" 3 ", "int", 3),
        ("off", "bool", False),
        ("none", "int | None", None),
        ("1,2,3", "tuple[int, ...]", (1, 2, 3)),
        ("a", "Literal['a', 'b']", "a"),
        ("0.5", "Share", 0.5),
    ],
)
def test_coerce(text: str, annotation: str, value: object) -> None:
    assert coerce(text, annotation) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value: float) -> None:
    assert parse_number(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        'def one(x, *, a: int = 1):\n    """One.\n\nReturns\n    nothing (a, 2020).\n"""\n    return x\n',
        "@two\ndef other():\n    pass\n@three(\n    1\n)\n@four\ndef one(x): return x\nVALUE = 1\n",
        'TEXT = """\ndef one(y):\n    pass\n"""\n\ndef one(x):\n    # a remark\n# another\n\n    return x\n',
        "import os\n\n\ndef one(\n    x,\n) -> (\n    int\n):\n\treturn x\n",
    ],
)
def test_a_function_is_read_as_if_its_whole_file_were(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(text)
    whole = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "one"]
    assert ast.dump(definition(tmp_path / "m.py", "one")) == ast.dump(whole[0])


def test_our_functions_are_read_without_the_rest_of_their_files() -> None:
    for verb in TABLE:
        for target, _ in TABLE[verb].values():
            module, function = target.split(":")
            path = Path(xaicli.__file__).parent / Path(*module.split(".")).with_suffix(".py")
            whole = ast.parse(path.read_text(encoding="utf-8")).body
            found = next(node for node in whole if isinstance(node, ast.FunctionDef) and node.name == function)
            assert ast.dump(definition(path, function)) == ast.dump(found)
