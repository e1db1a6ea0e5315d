"""Weights that other programs wrote, in `.pt`, `.pth` and `.safetensors`: read without running any code."""

from __future__ import annotations

import io
import os
import pickletools
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.files.checkpoint import METADATA_KEY
from xaicli.files.signature import signature

_HARMLESS = ("collections.OrderedDict", "torch._utils._rebuild", "torch.storage.")
_SHOWN = 5


def read_weights(path: str | os.PathLike[str]) -> object:
    """What the file holds, whatever it is: tensors, numbers, texts, and lists and dictionaries of these.

    Raises MissingError for a file that cannot be read, InputError for one that is truncated or of another kind, and
    RefusedError for one that would have to run code, with the list of what it asks for.
    """
    path = Path(path)
    if signature(path) == "checkpoint":
        return _from_safetensors(path)
    _refuse_compression(path)
    return _from_pickle(path)


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if METADATA_KEY in (file.metadata() or {}):
                raise InputError(f"'{path}' is a checkpoint of xaicli already; use it as it is.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _from_pickle(path: Path) -> object:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused below anyway
            # Said explicitly: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD overrides the default only.
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read: {error.strerror or error}; check the path.") from None
    except Exception as error:  # a hostile file can make the reader raise anything
        wanted = _unsafe_globals(path)
        if wanted:
            more = f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else ""
            raise RefusedError(
                f"'{path}' is a pickle that would run code ({', '.join(wanted[:_SHOWN])}{more}), which is never done; "
                "save the plain state dict where the file was made: torch.save(model.state_dict(), FILE)."
            ) from None
        if "weights_only=True" in str(error) and not isinstance(error, UnpicklingError):  # TorchScript, tar
            raise RefusedError(
                f"'{path}' is a TorchScript archive or of torch's oldest format, which can hold code; "
                "save the plain state dict where the file was made: torch.save(model.state_dict(), FILE)."
            ) from None
        raise _unreadable(path, error) from None


def _refuse_compression(path: Path) -> None:
    """torch.save stores its records as they are, but torch.load would also inflate a kilobyte to a gigabyte."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from None
    if packed:
        raise RefusedError(
            f"'{path}' holds compressed records, which torch.save never writes; save it again with torch.save."
        )


def _unsafe_globals(path: Path) -> list[str]:
    """What a pickle would import beyond the parts of tensors, found without executing it."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no zip file of torch.save: a bare pickle, an older format, or anything at all
        names = _globals_of_pickles(path)
        return sorted(name for name in names if not name.startswith(_HARMLESS) and not name.endswith("Storage"))


def _globals_of_pickles(path: Path) -> set[str]:
    """Names in the import instructions of the pickles that a file consists of."""
    found: set[str] = set()
    file = io.BytesIO(path.read_bytes())
    try:
        while True:
            texts: list[str] = [""]
            memo: dict[int, str] = {}
            for code, argument, _ in pickletools.genops(file):
                if code.name in ("GLOBAL", "INST"):
                    found.add(str(argument).replace(" ", "."))
                elif code.name == "STACK_GLOBAL":
                    found.add(".".join(texts[-2:]))
                elif code.name == "MEMOIZE":
                    memo[len(memo)] = texts[-1]
                elif code.name.endswith("PUT"):
                    memo[int(argument or 0)] = texts[-1]
                elif code.name.endswith("GET"):
                    texts.append(memo.get(int(argument or 0), ""))
                elif isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # the end of the last pickle, or bytes that are none
        return found


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(f"'{path}' cannot be read as weights, so it is truncated, damaged or of another kind: {reason}")
