"""The detectors by name: fitted on one feature pass, taken apart into arrays for a checkpoint, and built again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray

from xaicli.errors import InputError
from xaicli.methods import describe, names
from xaicli.models.detectors.detector import Detector, arrays_of
from xaicli.models.detectors.known import Known
from xaicli.signatures import Value, coerce

PREFIX = "xaicli.detector."
"""What the names of a detector's arrays begin with in a checkpoint."""

DETECTORS: dict[str, Callable[..., Detector]] = {name: describe("detector", name).load() for name in names("detector")}
"""The functions that fit them; a parameter by position names what it is given of the known rows."""


def fit(name: str, known: Known | None, options: Mapping[str, Value]) -> Detector:
    """Fit a detector to known rows, which may be None for one that is not fitted.

    options: by the names of the function's keyword-only parameters.
    """
    function = DETECTORS[name]
    given = [
        getattr(known, parameter.name)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    return function(*given, **options)


def kind_of(name: str) -> type[Detector]:
    """What a detector of this name is an instance of. Raises InputError for a name that there is not."""
    if name not in DETECTORS:
        raise InputError(f"'{name}' is no detector; the checkpoint is of another version of xaicli, train it again.")
    kind: type[Detector] = get_type_hints(DETECTORS[name])["return"]
    return kind


def is_fitted(name: str) -> bool:
    """Whether its fit looks at known rows, and leaves arrays of them in the checkpoint."""
    return bool(arrays_of(kind_of(name)))


def detector_arrays(detector: Detector) -> dict[str, NDArray[Any]]:
    """What a fit has found as numpy arrays that share nothing with it, named as a checkpoint names them."""
    return {PREFIX + name: getattr(detector, name).detach().cpu().clone().numpy() for name in arrays_of(type(detector))}


def detector_options(detector: Detector) -> dict[str, Value]:
    """The options that its scores depend on, for the checkpoint's metadata; those of the fit alone are not kept."""
    arrays = arrays_of(type(detector))
    return {item.name: getattr(detector, item.name) for item in fields(detector) if item.name not in arrays}


def rebuild(
    name: str, options: Mapping[str, Value], tensors: Mapping[str, NDArray[Any]], *, classes: int, width: int
) -> Detector:
    """The detector whose options and arrays a checkpoint holds, bit for bit.

    classes, width: of the network's last layer. Raises InputError for what is not this detector's.
    """
    kind = kind_of(name)
    shapes = arrays_of(kind)
    arrays = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    _check_names(name, shapes, arrays)
    _check_names(name, [item.name for item in fields(kind) if item.name not in shapes], options)
    sizes = {"K": classes, "D": width}
    for key, letters in shapes.items():
        found = arrays[key].shape
        if len(found) != len(letters) or arrays[key].dtype not in (np.float32, np.float64):
            raise _unfit(name, f"{key} of {len(letters)} dimensions", f"{arrays[key].dtype} {list(found)}")
        if list(found) != [sizes.setdefault(*pair) for pair in zip(letters, found, strict=True)]:
            raise _unfit(name, f"{key} {[sizes[letter] for letter in letters]}", f"{list(found)}")
    for key, value in options.items():
        if not _fits(value, DETECTORS[name].__annotations__[key]):
            raise _unfit(name, f"another {key}", repr(value))
    values = {key: torch.from_numpy(value.copy()) for key, value in arrays.items()}
    return kind(**values, **options)


def _check_names(name: str, needed: Iterable[str], found: Iterable[str]) -> None:
    if {*needed} != {*found}:
        raise _unfit(name, ", ".join(sorted(needed)) or "nothing", ", ".join(sorted(found)) or "nothing")


def _fits(value: Value, annotation: str) -> bool:
    try:
        return coerce(str(value), annotation) == value
    except ValueError:
        return False


def _unfit(name: str, needed: str, found: str) -> InputError:
    return InputError(f"the detector {name} of the checkpoint needs {needed}, but has {found}; train the model again.")
