"""Networks made Bayesian: which layers, what the state dict says, the sum of divergences, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, distributions, nn
from torch.nn import functional as F

from tests.models.families import FAMILIES, lively
from xaicli.errors import InputError
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.bayesian import kl_of, plain, to_mean_field
from xaicli.models.classifier import Classifier
from xaicli.models.mean_field import MeanFieldConv2d, MeanFieldLinear, drawing, mean_field_layers
from xaicli.models.prior import Gaussian, ScaleMixture
from xaicli.run.posterior import noise_of, posterior_draw
from xaicli.run.random import Stream

SWIN = "timm:swin_tiny_patch4_window7_224"
LARGE = ["vgg11_bn", "alexnet", "wide_resnet50_2"]  # and made of what others are made of
OURS = ["cnn", "resnet18-cifar:width=8", "resnet50-cifar:width=8", "vgg16-cifar:width=8", "dp-cnn"]
OURS += ["mlp:hidden=16", "wrn-16-4:widen=1"]


def one_set(name: str, shape: Sequence[int]) -> Tensor:
    return noise_of(Stream(0, "test", (0,)), torch.zeros(()))(name, shape)


def never(name: str, shape: Sequence[int]) -> Tensor:
    raise AssertionError(f"{name} was drawn")


def small() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    to_mean_field(network, sigma=0.2)
    return network


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {*LARGE, SWIN}))
def test_every_familys_means_are_the_network_and_every_layer_that_is_called_draws(family: str) -> None:
    network, size = lively(family)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = network(images)
    called: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs, name=name: called.append(name))
    network(images)
    names = to_mean_field(network)
    assert names == [name for name, layer in network.named_modules() if name in set(called)]
    assert torch.equal(network(images), before)
    with drawing(network, noise_of(Stream(0, family, (0, 1)), images)):
        drawn = network(images)
    assert drawn.isfinite().all() and not torch.equal(drawn, before)


def test_windows_that_stand_where_images_should_are_refused() -> None:
    """timm's Swin calls its projections with windows for rows; a layer cannot know whose they are."""
    network, size = lively(SWIN)
    to_mean_field(network)
    images = torch.rand(2, 3, size, size)
    with drawing(network, noise_of(Stream(0, "swin", (0, 1)), images)), pytest.raises(InputError, match="for 2 images"):
        network(images)


@pytest.mark.parametrize("arch", OURS)
def test_every_weight_of_our_own_architectures_becomes_uncertain_but_norms(arch: str) -> None:
    network = build_network(parse_arch(arch), 10, 3, (32, 32))
    before = dict(network.named_parameters())
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)}
    to_mean_field(network)
    after = dict(network.named_parameters())
    certain = [name for name in before if name.rpartition(".")[0] in norms or name.endswith(".gain")]
    for name, parameter in before.items():
        if name in certain:
            assert after[name] is parameter
        else:
            assert after[f"{name}_mean"] is parameter
            assert after[f"{name}_rho"].shape == parameter.shape
    assert len(after) == 2 * len(before) - len(certain)


def test_names_in_the_state_dict() -> None:
    assert [name for name in small().state_dict() if not name.startswith("1.")] == [
        "0.weight_mean",
        "0.weight_rho",
        "3.weight_mean",
        "3.weight_rho",
        "3.bias_mean",
        "3.bias_rho",
    ]


def test_some_layers_are_kept() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    assert to_mean_field(network, keep=lambda name: name == "0") == ["1"]
    assert [type(layer) for layer in network] == [nn.Linear, MeanFieldLinear]


def test_a_frozen_layer_stays_frozen_and_a_mode_stays() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1).requires_grad_(False), nn.Linear(3, 3)).eval()
    to_mean_field(network)
    assert [parameter.requires_grad for parameter in network.parameters()] == [False] * 4 + [True] * 4
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.ConvTranspose2d(1, 1, 3), "ConvTranspose2d"),
        (nn.Conv1d(1, 1, 3), "Conv1d"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "Conv2d"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "ParametrizedLinear"),
    ],
)
def test_a_layer_that_does_more_than_multiply_is_refused_before_anything_is_changed(
    layer: nn.Module, kind: str
) -> None:
    network = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(InputError, match=f"'1' is of the kind {kind}"):
        to_mean_field(network)
    assert type(network[0]) is nn.Linear


def test_standardised_convolutions_become_ordinary_ones_of_their_standardised_mean() -> None:
    network = build_network(parse_arch("wrn-16-4:widen=1"), 3, 3, (32, 32)).eval()
    nn.init.uniform_(network.layer1[0].conv1.gain)
    images = torch.rand(2, 3, 32, 32)
    before = network(images)
    assert len(to_mean_field(network)) == 13 + 3 + 1  # convolutions, shortcuts, head
    assert torch.equal(network(images), before)
    ordinary = plain(network)
    assert type(ordinary.layer1[0].conv1) is nn.Conv2d
    torch.testing.assert_close(ordinary(images), before, atol=1e-5, rtol=1e-5)


def test_a_network_without_weights_to_doubt_is_refused() -> None:
    for network in (nn.Sequential(nn.BatchNorm2d(3)), nn.MultiheadAttention(4, 2)):
        with pytest.raises(InputError, match="no linear layer"):
            to_mean_field(network)
    with pytest.raises(InputError, match="no uncertain weights"):
        kl_of(nn.Linear(3, 3), Gaussian(), never)


def test_the_sum_of_divergences_is_torchs() -> None:
    network = small()
    normal = distributions.Normal(0, torch.tensor(0.5))
    expected = sum(
        distributions.kl_divergence(distributions.Normal(mean, F.softplus(rho)), normal).sum()
        for mean, rho in (
            (network[0].weight_mean, network[0].weight_rho),
            (network[3].weight_mean, network[3].weight_rho),
            (network[3].bias_mean, network[3].bias_rho),
        )
    )
    torch.testing.assert_close(kl_of(network, Gaussian(0.5), never), expected)


def test_a_mixtures_sum_is_taken_at_the_weights_that_plain_draws() -> None:
    network, prior = small(), ScaleMixture(0.5, 1.0, 0.1)
    drawn = plain(network, one_set)
    expected = torch.zeros(())
    for layer, ordinary in ((network[0], drawn[0]), (network[3], drawn[3])):
        for part, (mean, sigma) in layer.posterior().items():
            weights = getattr(ordinary, part)
            own = distributions.Normal(mean, sigma).log_prob(weights).sum()
            expected = expected + own - prior.log_density(weights).sum()
    torch.testing.assert_close(kl_of(network, prior, one_set), expected)


def test_plain_is_the_network_of_its_means_and_nothing_of_the_original_has_changed() -> None:
    network = small()
    ordinary = plain(network)
    assert [type(layer) for layer in ordinary] == [nn.Conv2d, nn.BatchNorm2d, nn.Flatten, nn.Linear]
    assert list(ordinary.state_dict())[:2] == ["0.weight", "1.weight"]
    assert [type(layer) for layer in mean_field_layers(network)] == [MeanFieldConv2d, MeanFieldLinear]
    images = torch.rand(4, 1, 4, 4)
    assert torch.equal(ordinary.eval()(images), network.eval()(images))
    assert ordinary[1].weight is network[1].weight
    assert not ordinary[0].weight.requires_grad and network[0].weight_mean.requires_grad


def test_drawn_weights_are_mean_plus_sigma_times_the_numbers_of_their_name() -> None:
    network = small()
    drawn = plain(network, one_set)
    for layer, number, place in ((network[0], 0, 0), (network[3], 1, 3)):
        for part, (mean, sigma) in layer.posterior().items():
            noise = one_set(f"weights:{number}:{part}", mean.shape)[0]
            assert torch.equal(getattr(drawn[place], part), (mean + sigma * noise).detach())


def test_a_convolution_comes_back_with_all_it_had() -> None:
    ordinary = nn.Sequential(nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False))
    network = nn.Sequential(nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False))
    network.load_state_dict(ordinary.state_dict())
    to_mean_field(network)
    images = torch.rand(2, 4, 7, 6)
    assert torch.equal(plain(network)(images), ordinary(images))
    assert repr(plain(network)) == repr(ordinary)


def test_a_draw_of_the_posterior_is_one_function_that_belongs_to_seed_and_number() -> None:
    classifier = Classifier(small(), [0.5], [0.2], ["a", "b", "c"], (1, 4, 4)).eval()
    images = torch.rand(6, 1, 4, 4)

    def ask(seed: int, draw: int) -> Tensor:
        drawn: Tensor = posterior_draw(classifier, seed, draw)(images)
        return drawn

    first = ask(0, 0)
    assert torch.equal(first, ask(0, 0))
    others = [ask(0, 1), ask(1, 0), classifier(images)]
    assert min((first - other).abs().min() for other in others) > 1e-4
