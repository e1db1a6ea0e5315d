"""What recipes make of networks: said in the checkpoint, and made again when it is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.conftest import WriteModel
from xaicli.errors import InputError
from xaicli.models.arch import Arch, arch_from_record, build_network, parse_arch
from xaicli.models.bayesian import plain
from xaicli.models.changes import Changes, changed
from xaicli.models.dropout import dropping_layers
from xaicli.models.ensemble import Ensemble
from xaicli.models.load import load_classifier
from xaicli.models.mean_field import mean_field_layers

LAYERS = tuple(f"block{number}.conv" for number in range(2, 6))
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def of(**changes: Any) -> Arch:
    return replace(parse_arch("cnn"), changes=Changes(**changes))


def test_a_checkpoint_says_what_was_changed_and_nothing_of_what_was_not() -> None:
    assert Changes().record == {}
    whole = Changes(("block1.norm",), ("fc",), LAYERS, 0.25, 3)
    assert whole.record == {
        "norms": {"group": ["block1.norm"]},
        "mean_field": ["fc"],
        "dropout": {"p": 0.25, "layers": list(LAYERS)},
        "members": 3,
    }
    for changes in (Changes(), whole, replace(whole, members=0), replace(whole, norms=(), dropout=(), share=0.0)):
        arch = replace(parse_arch("cnn"), changes=changes)
        assert arch_from_record(arch.record, "'m'") == arch


def test_layers_with_gaussian_weights_come_back_and_answer_by_their_means(write_model: WriteModel) -> None:
    path, classifier = write_model(of(mean_field=("block1.conv", "fc")))
    assert sorted(name for name in classifier.state_dict() if "rho" in name) == [
        "network.block1.conv.weight_rho",
        "network.fc.bias_rho",
        "network.fc.weight_rho",
    ]
    uncertain, certain = load_classifier(path, uncertain=True), load_classifier(path)
    assert len(mean_field_layers(uncertain)) == 2 and not mean_field_layers(certain)
    assert type(certain.network.fc) is nn.Linear
    torch.testing.assert_close(certain(IMAGES), plain(classifier)(IMAGES))


def test_layers_that_drop_come_back_only_where_draws_are_wanted(write_model: WriteModel) -> None:
    path, classifier = write_model(of(dropout=LAYERS, share=0.25))
    uncertain, certain = load_classifier(path, uncertain=True), load_classifier(path)
    assert [(name, hook.share) for name, _, hook in dropping_layers(uncertain.network)] == [
        (name, 0.25) for name in LAYERS
    ]
    assert not dropping_layers(certain)
    torch.testing.assert_close(certain(IMAGES), classifier(IMAGES))


def test_an_ensemble_comes_back_with_all_its_networks(write_model: WriteModel) -> None:
    path, classifier = write_model(of(members=3))
    loaded = load_classifier(path)
    assert isinstance(loaded.network, Ensemble) and len(loaded.network.networks) == 3
    torch.testing.assert_close(loaded(IMAGES), classifier(IMAGES))
    first, second, _ = (network(IMAGES) for network in loaded.network.networks)
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("mean_field", "fc"),
        ("mean_field", [1]),
        ("mean_field", None),
        ("dropout", None),
        ("dropout", {"p": 0.1}),
        ("dropout", {"p": 1.0, "layers": []}),
        ("dropout", {"p": -0.1, "layers": []}),
        ("dropout", {"p": 1, "layers": []}),
        ("dropout", {"p": 0.1, "layers": ["fc", 2]}),
        ("members", -1),
        ("members", 101),
        ("members", 1e9),
        ("members", True),
        ("members", None),
    ],
)
def test_records_of_what_nobody_can_make_are_refused(part: str, value: object) -> None:
    with pytest.raises(InputError, match=r"'m' (changes layers in a way|holds .* networks, but there can be 0 to 100)"):
        arch_from_record({"name": "cnn", "options": {}, part: value}, "'m'")


@pytest.mark.parametrize("changes", [Changes(mean_field=("fc", "gone")), Changes(dropout=("fc", "gone"), share=0.1)])
def test_a_layer_that_is_not_there_is_refused(changes: Changes) -> None:
    with pytest.raises(InputError, match="its layer 'gone' was made uncertain, but has none"):
        changed(lambda: build_network(parse_arch("cnn"), 3, 3, (32, 32)), changes, "the architecture 'cnn'")
