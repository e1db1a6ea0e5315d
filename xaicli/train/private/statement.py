"""What a private checkpoint promises, in sentences that a reader can hold it to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xaicli.errors import InputError


def statement(privacy: Mapping[str, Any]) -> list[str]:
    """The sentences for the `privacy` of a checkpoint: on the terminal, in `store info` and in the report.

    Raises InputError if it lacks what they are about.
    """
    try:
        return [_promise(privacy), _steps(privacy), *_composition(privacy), *_limits(privacy)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the privacy of the checkpoint is malformed ({error}); train the model again.") from None


def _promise(privacy: Mapping[str, Any]) -> str:
    if privacy["epsilon"] is None:
        return "Nothing is promised: without noise there is no bound on epsilon."
    return (
        f"Epsilon is at most {privacy['epsilon']:.4g} at delta {privacy['delta']:.2g} for {privacy['unit']}, "
        f"by the {privacy['accountant']} accountant."
    )


def _steps(privacy: Mapping[str, Any]) -> str:
    noise = {
        "secret": "from a key of the operating system that is thrown away",
        "seeded": "from the seed: whoever knows that, and the job in this file names it, can take the noise away",
    }
    source = privacy.get("noise")
    return (
        f"In each of {privacy['steps']} steps every image was drawn independently with probability "
        f"{privacy['sample_rate']:.4g} of a number of images that counts as public, its gradient cut to the norm "
        f"{privacy['max_grad_norm']:g}, and noise of {privacy['noise_multiplier']:.4g} times that norm added"
        f"{', ' + noise[source] if source is not None else ''}."
    )


def _composition(privacy: Mapping[str, Any]) -> list[str]:
    """What other trainings of these weights have to do with epsilon."""
    data = [entry["data"] for entry in privacy.get("ledger") or ()]
    same = sum(digest == data[-1] for digest in data) - 1 if data else 0
    lines = []
    if same:
        lines.append(f"Epsilon includes what {_counted(same)} released about the same images before.")
    if data and len(data) - 1 > same:
        lines.append(f"Epsilon leaves out {_counted(len(data) - 1 - same)} on other images, which the ledger lists.")
    return lines


def _counted(trainings: int) -> str:
    return "1 training" if trainings == 1 else f"{trainings} trainings"


def _limits(privacy: Mapping[str, Any]) -> list[str]:
    lines = []
    if privacy.get("canaries"):
        lines.append(f"{privacy['canaries']} images were canaries, with which `evaluate -k audit` tests the promise.")
    if replaced := len(privacy.get("replaced") or ()):
        layers = "1 layer" if replaced == 1 else f"{replaced} layers"
        lines.append(f"GroupNorm stands where BatchNorm would have mixed the images, in {layers}.")
    if uncovered := privacy.get("not_covered"):
        lines.append(f"Not covered: {'; '.join(map(str, uncovered))}.")
    return lines
