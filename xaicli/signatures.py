"""A function's signature as options on the command line: read with `ast`, so nothing is imported, and typed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from xaicli.errors import nearest

Value: TypeAlias = int | float | bool | str | tuple[int | float | str, ...] | None

# Annotations with a range; to the type checker they are plain numbers.
Count: TypeAlias = int  # 1, 2, 3, ...
Whole: TypeAlias = int  # 0, 1, 2, ...
Positive: TypeAlias = float  # > 0
NonNegative: TypeAlias = float  # >= 0
Share: TypeAlias = float  # 0 .. 1
Radii: TypeAlias = float | tuple[float, ...]  # >= 0, one or several


@dataclass(frozen=True)
class Option:
    """One keyword-only parameter of a method, as its signature states it."""

    name: str
    kind: str  # int, float, bool, str, Count, Whole, Positive, NonNegative, Share, Radii, choice
    default: Value
    choices: tuple[str, ...] = ()
    optional: bool = False
    many: bool = False

    @property
    def key(self) -> str:
        """The option's name on the command line."""
        return self.name.replace("_", "-")

    @property
    def type_text(self) -> str:
        """The type as help shows it, such as `black|white|blur` or `number > 0`."""
        text = "|".join(self.choices) if self.choices else _KIND_TEXT[self.kind]
        return f"{text},..." if self.several else text

    @property
    def several(self) -> bool:
        """Whether values may be joined by commas."""
        return self.many or self.kind == "Radii"

    def parse(self, text: str) -> Value:
        """Turn command-line text into a value; ValueError says what was expected."""
        if self.optional and text.lower() in ("none", "auto", "all"):
            return None
        if self.many or (self.several and "," in text):
            return tuple(_parse_one(part, self.kind, self.choices) for part in text.split(","))
        return _parse_one(text, self.kind, self.choices)


def show(value: Value) -> str:
    """A value as it would be typed on the command line."""
    if isinstance(value, tuple):
        return ",".join(show(part) for part in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "auto" if value is None else str(value)


def coerce(text: str, annotation: str) -> Value:
    """Turn text into the type that an annotation names (`int`, `float`, `bool`, `str`, `int | None`, ...)."""
    return _option("value", ast.parse(annotation, mode="eval").body, None).parse(text)


_KIND_TEXT = {
    "int": "whole number",
    "float": "number",
    "bool": "true|false",
    "str": "text",
    "Count": "whole number > 0",
    "Whole": "whole number >= 0",
    "Positive": "number > 0",
    "NonNegative": "number >= 0",
    "Share": "number from 0 to 1",
    "Radii": "number >= 0",
}
_RANGES: dict[str, Callable[[float], bool]] = {
    "Count": lambda value: value >= 1,
    "Whole": lambda value: value >= 0,
    "Positive": lambda value: value > 0,
    "NonNegative": lambda value: value >= 0,
    "Share": lambda value: 0 <= value <= 1,
    "Radii": lambda value: value >= 0,
}
_LARGEST = 2**31 - 1  # no count of steps, masks or samples is larger, and tensors take it as an index
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse_number(text: str) -> float:
    """Read a number, a fraction such as `8/255` included."""
    top, slash, bottom = text.partition("/")
    try:
        value = float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"'{text}' is not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"'{text}' is not a finite number")
    return value


def _parse_one(text: str, kind: str, choices: tuple[str, ...]) -> int | float | bool | str:
    text = text.strip()
    if kind == "choice":
        if text not in choices:
            hint = nearest(text, choices).strip().replace("Did", "did")
            raise ValueError(f"expected one of {', '.join(choices)}{f' ({hint})' if hint else ''}")
        return text
    if kind == "str":
        return text
    if kind == "bool":
        if text.lower() not in _TRUTH:
            raise ValueError("expected true or false")
        return _TRUTH[text.lower()]
    value = parse_number(text)
    if kind in ("int", "Count", "Whole"):
        if value != int(value):
            raise ValueError(f"expected a {_KIND_TEXT[kind]}")
        if abs(value) > _LARGEST:
            raise ValueError(f"expected a {_KIND_TEXT[kind]} of at most {_LARGEST}")
        value = int(value)
    if kind in _RANGES and not _RANGES[kind](value):
        raise ValueError(f"expected a {_KIND_TEXT[kind]}")
    return value


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def definition(path: Path, function: str) -> ast.FunctionDef:
    """The function of a file. Raises LookupError if it is not there, SyntaxError if the file is no Python."""
    text = _text(path)
    try:
        module = ast.parse(_lines_of(text, function))
    except SyntaxError:  # a text of several lines that begins in the first column, or no Python at all
        module = ast.parse(text)
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return node
    raise LookupError(f"{path.name} does not define {function}")


def _lines_of(text: str, function: str) -> str:
    """A function's lines with its decorators, or all where they cannot be told: parsing whole files takes 0.1 s."""
    start = text.find(f"\ndef {function}(") + 1
    if not start or text.count(f"def {function}(") > 1:
        return text
    above, below = text[:start].splitlines(), text[start:].splitlines()
    end = next((n for n, line in enumerate(below) if n and line and line[0] not in " \t)#"), len(below))
    first = next((n for n in range(len(above), 0, -1) if above[n - 1][:1] not in tuple("@ \t)")), 0)
    decorated = next((n for n in range(first, len(above)) if above[n].startswith("@")), len(above))
    return "\n".join([*above[decorated:], *below[:end]])


def options_of(node: ast.FunctionDef) -> Iterator[Option]:
    """Its keyword-only parameters. Raises LookupError for one that the command line cannot read."""
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if argument.annotation is None or default is None:
            raise LookupError(f"{node.name}: the option {argument.arg} needs a type and a default")
        yield _option(argument.arg, argument.annotation, _constant(default))


def _constant(node: ast.expr) -> Value:
    """A default, evaluated without running code: literals and fractions of literals."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        top, bottom = ast.literal_eval(node.left), ast.literal_eval(node.right)
        return float(top) / float(bottom)
    value: Value = ast.literal_eval(node)
    return value


def _option(name: str, annotation: ast.expr, default: Value) -> Option:
    if isinstance(annotation, ast.BinOp):  # X | None
        inner = _option(name, annotation.left, default)
        return Option(name, inner.kind, default, inner.choices, optional=True, many=inner.many)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "Literal":
            items = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
            return Option(name, "choice", default, tuple(str(ast.literal_eval(item)) for item in items))
        if annotation.value.id == "tuple" and isinstance(annotation.slice, ast.Tuple):
            inner = _option(name, annotation.slice.elts[0], None)
            return Option(name, inner.kind, default, inner.choices, many=True)
    if isinstance(annotation, ast.Name) and annotation.id in _KIND_TEXT:
        return Option(name, annotation.id, default)
    raise LookupError(f"the option {name} has a type that the command line cannot read: {ast.unparse(annotation)}")
