"""Pickles of plain data, read without the pickle machine: an import is a word here and a call a note, so nothing runs.

CIFAR's python version holds dicts, lists, strings, numbers and one array of bytes. A small stack machine knows the
instructions that these need (protocols 0 to 5); every other one, and every other name, is refused.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError, RefusedError

RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
ENCODE = "_codecs.encode"
"""How Python 3 writes bytes in protocol 2."""

NAMES = (*RECONSTRUCT, "numpy.ndarray", "numpy.dtype", ENCODE)
"""What these files name; `Note`s stand in for them."""

SHOWN = 80
"""Characters of a name that an error repeats."""


@dataclass(eq=False)
class Note:
    """A name with what it was to be called with and the state it was to be given; neither ever happens."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


class Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """What lies below each mark."""
        self.memo: dict[int, Any] = {}
        self.room = 0
        """Bytes that may still be made of text: no more than the file has, however often it recalls one."""

    def run(self, data: bytes) -> Any:
        """What the pickle describes. IndexError, TypeError, ValueError and the like if it is damaged."""
        self.room = len(data)
        for code, argument, _ in pickletools.genops(data):
            if code.name == "STOP":
                return self.stack.pop()
            if code.name in LITERALS:
                self.push(argument)
            elif code.name in ACTIONS:
                ACTIONS[code.name](self, argument)
            else:
                named = f" of {_shown(argument)}" if code.name == "INST" else ""
                self.refuse(f"the instruction {code.name}{named}")
        raise ValueError("no end")

    def refuse(self, wanted: str) -> None:
        """End with code 77."""
        raise RefusedError(
            f"{self.what} is a pickle that asks for {wanted}, which plain data never does; it was not executed: "
            "delete the file and fetch the data set from its source."
        )

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Take off the stack what was put on it since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self, _: object) -> None:
        """Begin a new group."""
        self.below.append(self.stack)
        self.stack = []

    def name(self, argument: str) -> None:
        """Import: only the known names, and these only as words."""
        word = argument.replace(" ", ".")
        if word not in NAMES:
            self.refuse(_shown(argument))
        self.push(Note(word))

    def call(self, _: object) -> None:
        """Call: noted. Bytes that Python 3 wrote as text become bytes."""
        arguments, callee = self.stack.pop(), self.stack.pop()
        if not isinstance(callee, Note) or callee.arguments or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        if callee.name == ENCODE:
            text, encoding = arguments
            self.room -= len(text)
            if encoding not in ("latin1", "latin-1") or self.room < 0:
                raise ValueError("another encoding, or the same text again and again")
            self.push(str.encode(text, "latin-1"))
        else:
            self.push(Note(callee.name, arguments))

    def build(self, _: object) -> None:
        """Give an object its state: noted."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Note) or not self.stack[-1].arguments:
            raise TypeError("a state for what is no object")
        self.stack[-1].state = state

    def extend(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise TypeError("no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        """Put keys and values into the dict on top of the stack; keys are text, also where Python 2 wrote bytes."""
        if not isinstance(self.stack[-1], dict):
            raise TypeError("no dict")
        self.stack[-1].update((as_text(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def dictionary(self, _: object) -> None:
        """A dict of all since the last mark."""
        items = self.since_mark()
        self.push({})
        self.update(items)

    def pop(self, count: int) -> list[Any]:
        """Take this many off the stack, in the order they were put there."""
        items = [self.stack.pop() for _ in range(count)]
        return items[::-1]


LITERALS = (
    *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)


def _put(machine: Machine, slot: Any) -> None:
    machine.memo[int(slot)] = machine.stack[-1]


def _tuple(count: int) -> Callable[[Machine, Any], object]:
    return lambda machine, _: machine.push(tuple(machine.pop(count)))


ACTIONS: dict[str, Callable[[Machine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": Machine.mark,
    "POP": lambda machine, _: machine.pop(1),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "DICT": Machine.dictionary,
    "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.update(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "GET": lambda machine, slot: machine.push(machine.memo[int(slot)]),
    "BINGET": lambda machine, slot: machine.push(machine.memo[slot]),
    "LONG_BINGET": lambda machine, slot: machine.push(machine.memo[slot]),
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join(machine.pop(2))),
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
}


def read_pickle(data: bytes, what: str) -> dict[str, Any]:
    """The dict that a pickle holds, with text for keys; arrays are left as notes for `bytes_of`.

    what: the file's name for errors. Raises RefusedError (77) that names what the pickle asks for beyond plain data,
    and InputError (65) for one that is damaged or no dict.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings that are not CIFAR's
            found = Machine(what).run(data)
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{what} is damaged, or is no pickle of a dict; fetch the data set again.")
    return found


def bytes_of(note: Any) -> NDArray[np.uint8] | None:
    """The array of bytes that a note stands for; None if it stands for anything else."""
    if not (isinstance(note, Note) and note.name in RECONSTRUCT):
        return None
    try:
        _, shape, kind, by_columns, raw = note.state
        if not (isinstance(kind, Note) and kind.name == "numpy.dtype" and as_text(kind.arguments[0]) in ("u1", "|u1")):
            return None
        body: bytes = raw.encode("latin-1") if isinstance(raw, str) else raw
        if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(body):
            return None
        return np.frombuffer(body, dtype=np.uint8).reshape(shape, order="F" if by_columns else "C")
    except (LookupError, TypeError, ValueError):
        return None


def _shown(argument: object) -> str:
    return repr(str(argument)[:SHOWN].replace(" ", "."))


def as_text(value: Any) -> str:
    """A text that Python 2 may have written as bytes; TypeError for anything else."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
