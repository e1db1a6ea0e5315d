"""What uncertain checkpoints stand for: their draws, the mean of those, and the numbers that belong to a draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xaicli.errors import InputError, UsageError
from xaicli.files.canonical import digest_json
from xaicli.files.checkpoint import Checkpoint, CheckpointMeta
from xaicli.models.arch import Arch, build_network, parse_arch
from xaicli.models.changes import Changes
from xaicli.models.classifier import Classifier
from xaicli.models.ensemble import Ensemble
from xaicli.models.load import load_classifier
from xaicli.models.state import state_arrays
from xaicli.run.calls import Calls
from xaicli.run.posterior import averaged, noise_of, open_calls, posterior_draw, usual_draws
from xaicli.run.random import Stream
from xaicli.run.settings import Settings

LAYERS = ("block2.conv", "block3.conv", "fc")
KINDS: dict[str, tuple[Changes, dict[str, Any] | None]] = {
    "ordinary": (Changes(), None),
    "mean-field": (Changes(mean_field=LAYERS), {"kind": "mean-field"}),
    "mc-dropout": (Changes(dropout=LAYERS, share=0.5), {"kind": "mc-dropout", "p": 0.5}),
    "ensemble": (Changes(members=3), {"kind": "ensemble", "members": 3}),
}
UNCERTAIN = [kind for kind in KINDS if kind != "ordinary"]
IMAGES = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
SETTINGS = Settings(batch_size=4, seed=5)


def checkpoint(kind: str) -> Checkpoint:
    """In memory; of Gaussian weights, with deviations large enough to tell draws apart."""
    changes, posterior = KINDS[kind]
    arch: Arch = replace(parse_arch("cnn:width=4,depth=3"), changes=changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(arch, 3, 1, (12, 12))
    for name, parameter in network.named_parameters():
        parameter.data.fill_(-2.0) if name.endswith("rho") else None
    classifier = Classifier(network, [0.4], [0.3], ["a", "b", "c"], (1, 12, 12))
    meta = CheckpointMeta(
        job={},
        job_id=digest_json({}),
        arch=arch.record,
        classes=classifier.class_names,
        shape=classifier.shape,
        mean=(0.4,),
        std=(0.3,),
        posterior=posterior,
    )
    return Checkpoint(Path("model.safetensors"), "0" * 64, meta, state_arrays(classifier))


def opened(kind: str, draws: int | None = None, **changes: Any) -> Calls:
    return open_calls(checkpoint(kind), device="cpu", settings=SETTINGS, draws=draws, **changes)


def draw_of(kind: str) -> Callable[[int, int], Tensor]:
    """Probabilities under a draw, by seed and number."""
    classifier = load_classifier(checkpoint(kind), uncertain=True)
    return lambda seed, draw: Calls(posterior_draw(classifier, seed, draw), batch_size=4).logits(IMAGES).softmax(1)


def test_noise_is_the_streams_numbers_by_name_for_every_row() -> None:
    stream = Stream(3, "draw:1", (7, 2))
    noise = noise_of(stream, torch.zeros((), dtype=torch.float64))
    found = noise("layer:0", torch.Size((4, 5)))
    assert found.dtype == torch.float64
    assert found.tolist() == stream.fork("layer:0").normal((4, 5)).tolist()
    assert not torch.equal(found, noise("layer:1", (4, 5)))


def test_how_many_draws_are_usual() -> None:
    assert {kind: usual_draws(checkpoint(kind).meta) for kind in KINDS} == {
        "ordinary": 0,
        "mean-field": 20,
        "mc-dropout": 20,
        "ensemble": 3,
    }


@pytest.mark.parametrize(
    "posterior", [{}, {"kind": "laplace"}, {"kind": "ensemble"}, {"kind": "ensemble", "members": 10**9}]
)
def test_a_posterior_that_nobody_knows_is_refused(posterior: dict[str, Any]) -> None:
    meta = replace(checkpoint("ordinary").meta, posterior=posterior)
    with pytest.raises(InputError, match="a posterior of a kind that this version of xaicli does not know"):
        usual_draws(meta)


def test_a_posterior_of_which_nothing_can_be_drawn_is_refused() -> None:
    promised = replace(checkpoint("ordinary").meta, posterior={"kind": "mean-field"})
    with pytest.raises(InputError, match="nothing in it can be drawn"):
        open_calls(replace(checkpoint("ordinary"), meta=promised), device="cpu", settings=SETTINGS)


def test_an_ordinary_checkpoint_is_asked_as_it_always_was() -> None:
    expected = Calls(load_classifier(checkpoint("ordinary")), batch_size=4).logits(IMAGES)
    for draws in (None, 0):
        calls = opened("ordinary", draws)
        assert calls.batch_size == 4 and torch.equal(calls.logits(IMAGES), expected)
        assert calls.members() == [calls]
    with pytest.raises(UsageError, match=r"'model.safetensors' is one network, of which nothing can be drawn"):
        opened("ordinary", 2)


@pytest.mark.parametrize("kind", UNCERTAIN)
def test_it_predicts_by_the_mean_of_its_draws(kind: str) -> None:
    probabilities = draw_of(kind)
    usual = usual_draws(checkpoint(kind).meta)
    for draws, number in ((None, usual), (2, 2), (1, 1)):
        expected = torch.stack([probabilities(5, draw) for draw in range(number)]).double().mean(0)
        torch.testing.assert_close(opened(kind, draws).logits(IMAGES).exp().double(), expected, rtol=0, atol=1e-6)
    first, second = probabilities(5, 0), probabilities(5, 1)
    assert (first - second).abs().max() > 1e-3 and torch.equal(first, probabilities(5, 0))


@pytest.mark.parametrize("kind", UNCERTAIN)
def test_members_are_the_draws_and_share_nothing_but_weights(kind: str) -> None:
    probabilities, calls = draw_of(kind), opened(kind, 3)
    members = calls.members()
    assert len(members) == 3
    for draw, member in enumerate(members):
        assert member.batch_size == 4 and member.classifier.class_names == ("a", "b", "c")
        assert torch.equal(member.logits(IMAGES).softmax(1), probabilities(5, draw))
    assert [member.forwards for member in members] == [5, 5, 5] and calls.forwards == 0
    assert not any(module.training for module in calls.classifier.modules())


@pytest.mark.parametrize("kind", UNCERTAIN)
def test_draws_belong_to_seed_and_stream_and_members_to_nothing(kind: str) -> None:
    first = opened(kind, 2).logits(IMAGES)
    assert torch.equal(first, opened(kind, 2).logits(IMAGES))
    fresh = opened(kind, 2, stream="another").logits(IMAGES)
    again = open_calls(checkpoint(kind), device="cpu", settings=replace(SETTINGS, seed=6), draws=2).logits(IMAGES)
    for other in (fresh, again):
        assert torch.equal(first, other) == (kind == "ensemble")
    more = opened(kind, 3).members()
    assert torch.equal(more[1].logits(IMAGES), opened(kind, 2).members()[1].logits(IMAGES))


def test_without_draws_it_is_one_plain_function() -> None:
    for kind in ("mean-field", "mc-dropout"):
        plain = opened(kind, 0)
        assert plain.members() == [plain]
        network = build_network(parse_arch("cnn:width=4,depth=3"), 3, 1, (12, 12))
        state = {
            name.removeprefix("network."): torch.as_tensor(array) for name, array in checkpoint(kind).tensors.items()
        }
        means = {name.replace("_mean", "") if "running" not in name else name: tensor for name, tensor in state.items()}
        network.load_state_dict({name: tensor for name, tensor in means.items() if "rho" not in name})
        expected = network.eval()((IMAGES - 0.4) / 0.3)
        torch.testing.assert_close(plain.logits(IMAGES), expected)
    whole = opened("ensemble", 0)
    assert isinstance(whole.classifier.network, Ensemble)
    assert torch.equal(whole.logits(IMAGES), opened("ensemble").logits(IMAGES))


def test_an_ensemble_has_no_more_draws_than_members() -> None:
    with pytest.raises(UsageError, match="the ensemble has 3 networks; draw at most as many"):
        opened("ensemble", 4)


def test_averaged_is_what_is_opened() -> None:
    classifier = load_classifier(checkpoint("mean-field"), uncertain=True)
    assert torch.equal(
        Calls(averaged(classifier, 5, 2), batch_size=4).logits(IMAGES), opened("mean-field", 2).logits(IMAGES)
    )
