"""The sentences of a private checkpoint name everything that its promise depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xaicli.errors import InputError
from xaicli.files.checkpoint import read_checkpoint, write_checkpoint
from xaicli.train.private.statement import statement

MINE, OTHER = "a" * 64, "b" * 64
PRIVACY: dict[str, Any] = {
    "epsilon": 2.99694,
    "delta": 1e-4,
    "target_epsilon": 3.0,
    "noise_multiplier": 1.31187,
    "max_grad_norm": 1.0,
    "sample_rate": 64 / 1293,
    "steps": 300,
    "accountant": "prv",
    "unit": "one image, added or removed",
    "sampling": "independent Bernoulli",
    "noise": "secret",
    "ledger": [{"data": MINE}],
    "replaced": [],
    "not_covered": ["the search for hyper-parameters", "rounding"],
}
STEPS = (
    "In each of 300 steps every image was drawn independently with probability 0.0495 of a number of images that "
    "counts as public, its gradient cut to the norm 1, and noise of 1.312 times that norm added, from a key of the "
    "operating system that is thrown away."
)


def test_a_private_training_of_its_own() -> None:
    assert statement(PRIVACY) == [
        "Epsilon is at most 2.997 at delta 0.0001 for one image, added or removed, by the prv accountant.",
        STEPS,
        "Not covered: the search for hyper-parameters; rounding.",
    ]


def test_everything_else_that_may_have_to_be_said() -> None:
    said = statement(
        {
            **PRIVACY,
            "noise": "seeded",
            "ledger": [{"data": OTHER}, {"data": MINE}, {"data": OTHER}, {"data": MINE}, {"data": MINE}],
            "canaries": 100,
            "replaced": ["block1.norm", "block2.norm"],
        }
    )
    assert said[1] == STEPS.replace(
        "from a key of the operating system that is thrown away",
        "from the seed: whoever knows that, and the job in this file names it, can take the noise away",
    )
    assert said[2:-1] == [
        "Epsilon includes what 2 trainings released about the same images before.",
        "Epsilon leaves out 2 trainings on other images, which the ledger lists.",
        "100 images were canaries, with which `evaluate -k audit` tests the promise.",
        "GroupNorm stands where BatchNorm would have mixed the images, in 2 layers.",
    ]


def test_without_noise_nothing_is_promised() -> None:
    said = statement({**PRIVACY, "epsilon": None, "noise_multiplier": 0.0})
    assert said[0] == "Nothing is promised: without noise there is no bound on epsilon."
    assert "noise of 0 times" in said[1]


def test_the_fields_of_every_private_checkpoint_suffice() -> None:
    """Those that SPEC 4 lists."""
    names = ("epsilon", "delta", "noise_multiplier", "max_grad_norm", "sample_rate", "steps", "accountant", "unit")
    assert statement({name: PRIVACY[name] for name in names}) == [
        statement(PRIVACY)[0],
        STEPS.replace(", from a key of the operating system that is thrown away", ""),
    ]


@pytest.mark.parametrize(
    "wrong", [{"epsilon": "3"}, {"delta": None}, {"noise": "loud"}, {"ledger": 3}, {"ledger": [5]}, {"replaced": 1}]
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="privacy of the checkpoint is malformed"):
        statement({**PRIVACY, **wrong})
    with pytest.raises(InputError, match="unit"):
        statement({name: value for name, value in PRIVACY.items() if name != "unit"})


def test_store_info_and_the_report_show_it(files: Any, call: Any, here: Path) -> None:
    checkpoint = read_checkpoint(files.checkpoint)
    for name, privacy in (("private", PRIVACY), ("odd", {"epsilon": 3})):
        write_checkpoint(f"{name}.safetensors", checkpoint.tensors, replace(checkpoint.meta, privacy=privacy))
    record = call("store", "info", "private.safetensors").record
    assert record["statement"].split("\n") == statement(PRIVACY) and record["privacy"] == PRIVACY
    shown = call("store", "info", "private.safetensors", terminal=True).out
    assert "at most 2.997" in shown and "hyper-parameters" in shown
    assert "statement" not in call("store", "info", files.checkpoint).record
    assert call("store", "info", "odd.safetensors").code == 65
    assert call("report", "private.safetensors").code == 0
    assert " ".join(statement(PRIVACY)) in Path("report.html").read_text()
