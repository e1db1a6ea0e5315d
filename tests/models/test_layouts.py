"""Each foreign layout with its true structure of keys, taken off a real network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xaicli.errors import InputError, RefusedError
from xaicli.models.layouts import load_foreign

STATE = {"conv.weight": torch.rand(2, 3, 1, 1), "fc.weight": torch.rand(4, 2), "fc.bias": torch.rand(4)}
MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def same(state: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> bool:
    return list(state) == list(expected) and all(torch.equal(state[name], expected[name]) for name in expected)


def robustness(**beside: Any) -> dict[str, Any]:
    mean, std = MEAN[:, None, None], STD[:, None, None]
    attacker = under("attacker.normalize.", {"new_mean": mean, "new_std": std}) | under("attacker.model.")
    state = {"normalizer.new_mean": mean, "normalizer.new_std": std, **under("model."), **attacker}
    return {"model": under("module.", state), "optimizer": {"state": {}}, "schedule": None, "epoch": 150, **beside}


@pytest.mark.parametrize("key", ["net", "model_ema", "state_dict_ema", "last"])
def test_further_wrappers(path: Path, key: str) -> None:
    torch.save({key: under("module."), "epoch": 3, "arch": "resnet26", "best": 0.5}, path)
    assert same(load_foreign(path).state)


def test_several_sets_of_weights_are_told_apart_by_the_user(path: Path) -> None:
    averaged = {name: tensor + 1 for name, tensor in STATE.items()}
    torch.save({"state_dict": STATE, "state_dict_ema": averaged, "optimizer": {}}, path)
    with pytest.raises(InputError, match=r"several sets of weights \(state_dict, state_dict_ema\); .* --entry"):
        load_foreign(path)
    assert same(load_foreign(path, "state_dict_ema").state, averaged)
    assert same(load_foreign(path, "state_dict").state)
    with pytest.raises(InputError, match="several sets"):
        load_foreign(path, "ema")


def test_an_entry_under_any_name_and_one_that_is_not_there(path: Path) -> None:
    torch.save({"checkpoint": {"student": STATE, "teacher": {}}}, path)
    with pytest.raises(InputError, match=r"no entry 'studend'.*It has: checkpoint"):
        load_foreign(path, "studend")
    torch.save({"student": STATE, "teacher": {}}, path)
    assert same(load_foreign(path, "student").state)
    with pytest.raises(InputError, match=r"Did you mean 'student'\? It has: student, teacher"):
        load_foreign(path, "studend")


def test_a_dictionary_that_holds_itself_ends(path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, path)
    with pytest.raises(InputError, match="state dict"):
        load_foreign(path)


def test_robustness_keeps_its_network_once_and_its_normalisation(path: Path) -> None:
    torch.save(robustness(), path)
    foreign = load_foreign(path)
    assert same(foreign.network, under("model."))
    assert foreign.normaliser == ("normalizer.new_mean", "normalizer.new_std")
    assert (foreign.mean, foreign.std) == (tuple(MEAN.tolist()), tuple(STD.tolist()))


def test_an_attacker_of_another_network_is_not_passed_over(path: Path) -> None:
    content = robustness()
    content["model"]["module.attacker.model.fc.bias"] = STATE["fc.bias"] + 1
    torch.save(content, path)
    with pytest.raises(InputError, match=r"attacks another network than its own \('attacker\.model\.fc\.bias'\)"):
        load_foreign(path)


def test_pickled_arguments_beside_the_weights_are_refused_by_name(path: Path) -> None:
    torch.save(robustness(args=argparse.Namespace(eps=0.5)), path)
    with pytest.raises(RefusedError, match=r"would run code \(argparse\.Namespace\)"):
        load_foreign(path)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("names", [("mu", "sigma"), ("mean", "std"), ("normalize.mean", "normalize.std")])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1)])
def test_robustbench_normalises_by_buffers(
    path: Path, prefix: str, names: tuple[str, str], shape: tuple[int, ...]
) -> None:
    buffers = {names[0]: MEAN.view(shape), names[1]: STD.view(shape)}
    torch.save({"state_dict": under(prefix, {**buffers, **STATE})}, path)
    foreign = load_foreign(path)
    assert same(foreign.network) and foreign.normaliser == names
    assert (foreign.mean, foreign.std) == (tuple(MEAN.tolist()), tuple(STD.tolist()))


@pytest.mark.parametrize(
    "buffers",
    [
        {"mean": torch.zeros(3), "std": torch.ones(3)},  # of a layer, not of images
        {"mean": torch.zeros(3, 1, 1), "std": torch.zeros(3, 1, 1)},
        {"mean": torch.zeros(3, 1, 1), "std": torch.ones(1, 1, 1)},
        {"a.b.mean": torch.zeros(3, 1, 1), "a.b.std": torch.ones(3, 1, 1)},
        {"mean": torch.zeros(3, 1, 1), "sigma": torch.ones(3, 1, 1)},
    ],
)
def test_what_only_looks_like_a_normalisation_stays(path: Path, buffers: dict[str, Tensor]) -> None:
    torch.save({**buffers, **STATE}, path)
    foreign = load_foreign(path)
    assert (foreign.normaliser, foreign.mean, foreign.std) == ((), None, None)
    assert same(foreign.network, {**buffers, **STATE})


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        ({"classes": ["b", "a"]}, ("b", "a")),
        ({"class_names": ("b", "a")}, ("b", "a")),
        ({"class_to_idx": {"a": 1, "b": 0}}, ("b", "a")),
        ({"class_to_idx": {"a": 1, "b": 2}}, None),
        ({"class_to_idx": {"a": [0], "b": "1"}}, None),
        ({"classes": 10}, None),
        ({"classes": [0, 1]}, None),
        ({"classes": []}, None),
        ({}, None),
    ],
)
def test_class_names_beside_the_weights(path: Path, beside: dict[str, Any], names: tuple[str, ...] | None) -> None:
    torch.save({"state_dict": STATE, **beside}, path)
    assert load_foreign(path).classes == names
