"""Every error that xaicli raises on purpose, each with its exit code.

    XaicliError 1
    |-- UsageError 2          the command is wrong
    |-- InputError 65         the input is corrupt, mismatched or incomplete
    |-- MissingError 66       an input or a parent is missing or unreadable
    |-- UnavailableError 69   a device, memory or an optional library is not available
    |-- PluginError 70        a plug-in broke its contract
    |-- ExistsError 73        the output exists and belongs to another job
    |-- OutputError 74        the disk is full or writing failed
    |-- StoppedError 75       stopped early, progress is saved
    `-- RefusedError 77       refused for safety

A message is one sentence that says what was wrong, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class XaicliError(Exception):
    """Base of all deliberate errors; `exit_code` is what the process ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(XaicliError):
    """The command line, a method specification or a configuration file is wrong."""

    exit_code = 2


class InputError(XaicliError):
    """An input was found but is corrupt, of the wrong kind, or does not fit the rest."""

    exit_code = 65


class MissingError(XaicliError):
    """An input or a parent artifact does not exist or cannot be read."""

    exit_code = 66


class UnavailableError(XaicliError):
    """A device, memory or an optional library is not available here."""

    exit_code = 69


class PluginError(XaicliError):
    """User code (a factory or a third-party method) broke its contract."""

    exit_code = 70


class ExistsError(XaicliError):
    """The output path is taken by the result of another job."""

    exit_code = 73


class OutputError(XaicliError):
    """Writing failed; what had been published before is intact."""

    exit_code = 74


class StoppedError(XaicliError):
    """The work was stopped on request and its progress is saved."""

    exit_code = 75


class RefusedError(XaicliError):
    """The input asks for something that is not safe to do."""

    exit_code = 77


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ` Did you mean 'gradcam'?`, or an empty string when nothing is close."""
    close = get_close_matches(word.lower(), list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
