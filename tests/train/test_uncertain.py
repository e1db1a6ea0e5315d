"""`bayesian`, `mc-dropout` and `ensemble`: what they train, what their checkpoints say, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.nets import classify
from tests.train.test_recipes import FIT, VAL, fresh, same
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.errors import InputError, UsageError
from xaicli.files.checkpoint import CheckpointMeta, read_checkpoint, read_meta
from xaicli.models.arch import parse_arch
from xaicli.models.bayesian import kl_of, to_mean_field
from xaicli.models.classifier import Classifier
from xaicli.models.dropout import dropping_layers, to_dropout
from xaicli.models.ensemble import Ensemble
from xaicli.models.load import load_classifier
from xaicli.models.mean_field import drawing
from xaicli.models.predictive import predictive
from xaicli.models.prior import Gaussian
from xaicli.run.posterior import noise_of, open_calls
from xaicli.run.random import Stream, generator
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec
from xaicli.train.batch import Batch
from xaicli.train.bayesian import prior_of
from xaicli.train.ensemble import ensemble, members_of
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model
from xaicli.train.plan import Request
from xaicli.train.precision import Bf16, asked_in
from xaicli.train.recipes import standard
from xaicli.train.run import train
from xaicli.train.state import Training
from xaicli.train.uncertain import make_uncertain

SMALL = "cnn:width=4,depth=3"
QUIET = "lr=1e-12,schedule=constant,augment=none"  # nothing moves


def trained(net: Classifier, recipe: str, *, epochs: int = 2, size: int = 16, physical: int = 16) -> Training:
    spec, schedule = parse_spec("train", recipe), Schedule(epochs, size, physical, 0)
    return train_model(net, Pixels(FIT), Judge(VAL, None, 0), spec, schedule, "test")


def gaussian(sigma: float = 0.05) -> Classifier:
    net = fresh()
    to_mean_field(net.network, sigma=sigma)
    return net


# --- bayesian


@pytest.mark.parametrize(("size", "physical"), [(7, 7), (16, 16), (16, 5), (90, 90)])
def test_an_epochs_divergence_is_kl_over_n_whatever_the_batches_are(size: int, physical: int) -> None:
    """Conformance: the founding system counts it once a batch, that is six times with batches of 16 for 90 images."""
    net = gaussian()
    kl = kl_of(net, Gaussian(0.5), lambda name, shape: torch.zeros(1, *shape)).item()
    (entry,) = trained(net, f"bayesian:scale=0.5,{QUIET}", epochs=1, size=size, physical=physical).history
    assert entry["kl"] == pytest.approx(kl / 90, rel=1e-5)
    assert entry["loss"] == pytest.approx(entry["cross_entropy"] + entry["kl"], rel=1e-5)
    assert list(entry)[:4] == ["epoch", "loss", "cross_entropy", "kl"]


def test_the_cross_entropy_told_is_that_of_one_draw_for_each_image() -> None:
    net = gaussian(0.3).eval()  # of BatchNorm's statistics, which batches would change
    net.still = tuple(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    images, labels = torch.as_tensor(FIT.pixels), torch.tensor(FIT.labels)
    with drawing(net, noise_of(Stream(0, "train:1/posterior", tuple(range(90))), images)):
        expected = F.cross_entropy(net(images), labels).item()
    for size in (16, 90):
        (entry,) = trained(net, f"bayesian:{QUIET}", epochs=1, size=size, physical=size).history
        assert entry["cross_entropy"] == pytest.approx(expected, abs=1e-5)


def test_kl_sets_the_weight_of_the_divergence() -> None:
    terms = {}
    for asked in ("auto", "0", "1/45"):
        (entry,) = trained(gaussian(), f"bayesian:kl={asked},{QUIET}", epochs=1).history
        terms[asked] = entry["kl"]
    assert terms["0"] == 0 and terms["1/45"] == pytest.approx(2 * terms["auto"], rel=1e-5)


def test_priors_by_name() -> None:
    assert prior_of("normal", 0.3) == Gaussian(0.3)
    mixture = prior_of("mixture", 2.0)
    w = torch.tensor([0.0, 0.5, -3.0], dtype=torch.float64)
    parts = [torch.distributions.Normal(0, torch.tensor(2 * np.exp(-k)).double()).log_prob(w) for k in (1, 7)]
    expected = torch.stack(parts).logsumexp(0) - np.log(2)
    torch.testing.assert_close(mixture.log_density(w), expected)  # type: ignore[attr-defined]


def test_one_step_is_adams() -> None:
    """Its first moves every weight by lr against the sign of its slope: also rho, which SGD would hardly move."""
    net, reference = gaussian(), gaussian()
    recipe = parse_spec("train", "bayesian:lr=0.01,schedule=constant,augment=none,sigma=0.05")
    train_model(net, Pixels(FIT), Judge(VAL, None, 0), recipe, Schedule(1, 90, 90, 0), "test")
    order = generator(0, "shuffle", 1).permutation(90)
    images, labels = torch.as_tensor(FIT.pixels[order]), torch.tensor(FIT.labels[order])
    stream = Stream(0, "train:1/posterior", tuple(order.tolist()))
    with drawing(reference, noise_of(stream, images)):
        loss = F.cross_entropy(reference(images), labels)
    (loss + kl_of(reference, Gaussian(), lambda name, shape: torch.zeros(1, *shape)) / 90).backward()
    for (name, mine), other in zip(net.named_parameters(), reference.parameters(), strict=True):
        clear = other.grad.abs() > 1e-5  # where Adam's eps of 1e-8 does not show
        assert clear.double().mean() > 0.7, name
        torch.testing.assert_close(
            mine[clear].detach(), (other - 0.01 * other.grad.sign())[clear].detach(), atol=1e-4, rtol=0
        )


# --- mc-dropout


def test_mc_dropout_with_p_of_zero_is_standard_bit_for_bit() -> None:
    net = fresh()
    to_dropout(net.network, 0.0)
    dropped = trained(net, "mc-dropout:p=0,label-smoothing=0.1,mixup=0.3")
    plain = trained(fresh(), "standard:label-smoothing=0.1,mixup=0.3")
    assert same(dropped.best, plain.best) and dropped.history == plain.history
    net = fresh()
    to_dropout(net.network, 0.3)
    torch.manual_seed(0)
    assert not same(trained(net, "mc-dropout:p=0.3,label-smoothing=0.1,mixup=0.3").best, plain.best)


# --- ensemble


def members(count: int = 3) -> list[nn.Module]:
    torch.manual_seed(0)
    return [fresh_network() for _ in range(count)]


def fresh_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def ready(network: nn.Module, dtype: torch.dtype = torch.float32) -> Classifier:
    return classify(network, (1, 6, 6), 2, dtype).requires_grad_().train()


@pytest.mark.parametrize(
    "options", ["", "mixup=0.4,label-smoothing=0.1", "momentum=0,weight-decay=0.01,schedule=cosine"]
)
def test_every_member_learns_as_it_would_alone(options: str) -> None:
    """Bit for bit: the loss is the sum of theirs, and not their mean, which would divide the learning rate."""
    together = ready(Ensemble(members()))
    trained(together, f"ensemble:k=3,{options}")
    for number, network in enumerate(members()):
        alone = ready(network)
        trained(alone, f"standard:{options}")
        found = together.network.networks[number].state_dict()  # type: ignore[union-attr, operator]
        assert same(found, alone.network.state_dict()), number


def test_an_ensembles_loss_is_the_sum_of_its_members_losses() -> None:
    net = ready(Ensemble(members()))
    images, labels = torch.as_tensor(FIT.pixels[:8]), torch.tensor(FIT.labels[:8])
    batch = Batch(net, images, labels, Stream(0, "t", tuple(range(8))))
    expected = sum(standard(replace(batch, classifier=ready(network))).item() for network in members())
    assert ensemble(batch).item() == pytest.approx(expected, abs=1e-5)


def test_members_are_asked_in_the_precision_of_the_whole() -> None:
    net = ready(Ensemble(members()))
    found = members_of(asked_in("bf16", net))
    assert len(found) == 3 and all(isinstance(member, Bf16) for member in found)
    images = torch.as_tensor(FIT.pixels[:4])
    first = found[0].eval()(images)
    assert first.dtype == torch.float32
    assert 0 < (first - net.network.networks[0].eval()(images)).abs().max() < 0.05  # type: ignore[union-attr, operator, index]


# --- what is made of a network


def test_layers_that_are_frozen_stay_certain() -> None:
    for recipe in ("bayesian", "mc-dropout:p=0.2"):
        net = fresh()
        net.network.get_submodule("0").requires_grad_(False)
        made = make_uncertain(net, parse_arch("cnn"), parse_spec("train", recipe), 90)
        assert (*made.changes.mean_field, *made.changes.dropout) == ("4",)
        assert type(net.network.get_submodule("0")) is nn.Conv2d


# --- whole trainings


def run(path: Path, recipe: str, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"data": "digits", "arch": SMALL, "shape": (1, 16, 16), "epochs": 1, **changes}
    (record,) = train(
        replace(Request("", None, parse_spec("train", recipe)), **data),
        Settings(output=str(path), batch_size=431, device="cpu"),
    )
    return record


RECIPES = {
    "mean-field": "bayesian:sigma=0.02,prior=mixture",
    "mc-dropout": "mc-dropout:p=0.25",
    "ensemble": "ensemble:k=2",
}
CONVOLUTIONS = ["block1.conv", "block2.conv", "block3.conv"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("uncertain")
    for kind, recipe in RECIPES.items():
        run(folder / f"{kind}.safetensors", recipe)
    return {kind: folder / f"{kind}.safetensors" for kind in RECIPES}


def test_checkpoints_say_what_they_are(made: dict[str, Path]) -> None:
    found: dict[str, CheckpointMeta] = {kind: read_meta(path)[0] for kind, path in made.items()}
    assert found["mean-field"].posterior == {
        "kind": "mean-field",
        "prior": {"name": "mixture", "scale": 1.0},
        "kl": 1 / 1293,
        "rows": 1293,
    }
    assert found["mean-field"].arch["mean_field"] == [*CONVOLUTIONS, "fc"]
    assert found["mc-dropout"].posterior == {"kind": "mc-dropout", "p": 0.25}
    assert found["mc-dropout"].arch["dropout"] == {"p": 0.25, "layers": [*CONVOLUTIONS[1:], "fc"]}
    assert found["ensemble"].posterior == {"kind": "ensemble", "members": 2}
    assert found["ensemble"].arch["members"] == 2
    for kind, meta in found.items():
        extra = {"kl", "cross_entropy"} & meta.history[0].keys()
        assert extra == ({"kl", "cross_entropy"} if kind == "mean-field" else set())
        assert {"val_accuracy", "test_accuracy"} <= meta.metrics.keys()


def test_they_come_back_as_they_were_trained(made: dict[str, Path]) -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = Settings()
    for kind, path in made.items():
        network = load_classifier(path, uncertain=True).network
        assert bool(dropping_layers(network)) == (kind == "mc-dropout")
        calls = open_calls(path, device="cpu", settings=settings)
        drawn = torch.stack([member.logits(images).softmax(1) for member in calls.members()])
        assert len(drawn) == (2 if kind == "ensemble" else 20)
        torch.testing.assert_close(calls.logits(images).exp(), drawn.mean(0), rtol=0, atol=1e-6)
        assert (drawn[0] - drawn[1]).abs().max() > 1e-4


def test_an_ensembles_first_network_is_the_one_that_standard_trains(made: dict[str, Path], tmp_path: Path) -> None:
    """With the same seed; only the epoch that is kept could be another."""
    run(tmp_path / "one.safetensors", "standard")
    alone = read_checkpoint(tmp_path / "one.safetensors").tensors
    found = read_checkpoint(made["ensemble"]).tensors
    for name, tensor in alone.items():
        if not name.startswith("xaicli."):
            assert np.array_equal(found[name.replace("network.", "network.networks.0.", 1)], tensor), name


def test_the_weight_of_the_divergence_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "m.safetensors", "bayesian:kl=1/2586", arch="bnn-mlp:hidden=4")
    said = capsys.readouterr().err
    assert "KL(posterior, prior) counts 0.0003867, which is 0.5/n for n = 1,293 images" in said
    meta = read_meta(tmp_path / "m.safetensors")[0]
    assert meta.posterior is not None and meta.posterior["kl"] == 1 / 2586
    assert "mean_field" not in meta.arch  # the architecture's own


def test_dry_run_counts_the_members_forwards(tmp_path: Path) -> None:
    (said,) = train(
        Request("digits", SMALL, parse_spec("train", "ensemble:k=4"), 1),
        Settings(output=str(tmp_path / "m.safetensors"), batch_size=431, device="cpu", dry_run=True),
    )
    assert said["forwards"] == 4 * 1293


def test_a_bayesian_training_goes_on_from_a_bayesian_or_from_an_ordinary_checkpoint(
    made: dict[str, Path], tmp_path: Path
) -> None:
    still = "lr=1e-30,schedule=constant,augment=none"
    for kind, recipe in (
        ("mean-field", f"bayesian:{still}"),
        ("mc-dropout", f"mc-dropout:p=0.1,momentum=0,weight-decay=0,{still}"),
    ):
        path = tmp_path / f"{kind}.safetensors"
        run(path, recipe, source=str(made[kind]), arch=None)
        before, after = read_checkpoint(made[kind]), read_checkpoint(path)
        for name in before.tensors:
            if "running" not in name and "num_batches" not in name and not name.startswith("xaicli."):
                assert np.array_equal(after.tensors[name], before.tensors[name]), name
        assert after.meta.posterior is not None and after.meta.posterior["kind"] == kind
    assert after.meta.arch["dropout"]["p"] == 0.1
    plain = tmp_path / "plain.safetensors"
    run(plain, "standard")
    run(tmp_path / "later.safetensors", f"bayesian:sigma=0.02,{still}", source=str(plain), arch=None, freeze=("body",))
    later = read_checkpoint(tmp_path / "later.safetensors")
    assert later.meta.arch["mean_field"] == ["fc"]  # a Bayesian last layer on features that stay
    weight = read_checkpoint(plain).tensors["network.fc.weight"]
    assert np.array_equal(later.tensors["network.fc.weight_mean"], weight)
    assert F.softplus(torch.tensor(later.tensors["network.fc.weight_rho"])).flatten().tolist() == pytest.approx(
        [0.02] * weight.size
    )


def test_a_bayesian_network_begins_with_a_new_head_for_other_classes(made: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    still = "bayesian:lr=1e-30,schedule=constant,augment=none"
    run(path, still, source=str(made["mean-field"]), arch=None, data="shapes", shape=None)
    found, before = read_checkpoint(path).tensors, read_checkpoint(made["mean-field"]).tensors
    for name in ("block2.conv.weight_rho", "block2.conv.weight_mean"):
        assert np.array_equal(found[f"network.{name}"], before[f"network.{name}"])
    assert F.softplus(torch.tensor(found["network.fc.bias_rho"])).tolist() == pytest.approx([0.01] * 10)


@pytest.mark.parametrize(
    ("kind", "recipe", "changes", "said"),
    [
        ("mean-field", "standard", {}, "is a distribution over networks .mean-field., with which --recipe standard"),
        ("mean-field", "mc-dropout", {}, "with which --recipe mc-dropout cannot go on"),
        ("ensemble", "private", {}, "is an ensemble, from which no training can start"),
        ("ensemble", "ensemble:k=2", {}, "is an ensemble, from which no training can start"),
        ("mc-dropout", "ensemble:k=2", {}, "with which --recipe ensemble cannot go on"),
        (None, "ensemble:k=2", {"freeze": ("body",)}, "leave --from and --freeze out"),
        (None, "ensemble:k=101", {}, "at most 100 networks, not 101"),
        (None, "mc-dropout:p=1", {}, "choose a number from 0 to 1, not 1"),
        (None, "standard", {"arch": "bnn-mlp:hidden=4"}, "has Gaussian weights, whose deviations --recipe standard"),
        (None, "private:noise=seeded", {"arch": "bnn-mlp:hidden=4"}, "--recipe private would not train"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    kind: str | None, recipe: str, changes: dict[str, Any], said: str, made: dict[str, Path], tmp_path: Path
) -> None:
    source = {"source": str(made[kind]), "arch": None} if kind is not None else {}
    with pytest.raises(UsageError, match=said):
        run(tmp_path / "m.safetensors", recipe, **source, **changes)


def test_a_network_without_a_second_layer_has_nothing_to_drop(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net(num_classes, channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(256, num_classes))\n"
    )
    with pytest.raises(InputError, match="no second linear layer or convolution"):
        run(tmp_path / "m.safetensors", "mc-dropout", arch=f"{tmp_path}/net.py:net")


@pytest.mark.slow
def test_draws_know_noise_from_digits_where_their_means_do_not(tmp_path: Path) -> None:
    """A small network; the rows whose entropy is among the lowest 87.6 % are kept, as in the founding system."""
    path = tmp_path / "m.safetensors"
    recipe = parse_spec("train", "bayesian:kl=1/60000,augment=none")
    settings = Settings(output=str(path), batch_size=64, device="cpu")
    list(train(Request("digits", "bnn-mlp:hidden=100,sigma=0.1", recipe, 15, shape=(1, 16, 16)), settings))
    test = open_data("digits", split="test", shape=(1, 16, 16))
    images, labels = torch.as_tensor(to_float(test.read(np.arange(len(test))).pixels)), torch.tensor(test.labels)
    noise = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    refused: dict[int | None, float] = {}
    for draws in (None, 0):
        calls = open_calls(path, device="cpu", settings=Settings(), draws=draws)
        found = predictive(calls.logits(images).unsqueeze(0))
        right = found.probability.argmax(1) == labels
        limit = found.entropy.quantile(0.876)
        assert right.double().mean() > 0.95
        assert right[found.entropy <= limit].double().mean() > 0.99
        refused[draws] = float((predictive(calls.logits(noise).unsqueeze(0)).entropy > limit).double().mean())
    assert refused[None] > 0.9 and refused[0] < 0.85
