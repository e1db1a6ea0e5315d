"""What is clipped, what is added up, and what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.models.families import ours
from tests.nets import classify, small_net
from tests.train.private.one_by_one import add, alone, clipped_sum, largest_difference, norms_of, trained
from tests.train.private.test_layers import Then
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.models.group_norm import group_norms
from xaicli.run.random import Stream
from xaicli.train.batch import Batch
from xaicli.train.freezing import freeze
from xaicli.train.precision import asked_in
from xaicli.train.private.clipped import Clipped
from xaicli.train.private.watched import Call, Site


def data(classifier: Classifier, rows: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    images = torch.rand((rows, *classifier.shape), generator=random).to(classifier.mean)
    return images, torch.randint(0, len(classifier.class_names), (rows,), generator=random)


def net() -> Classifier:
    return small_net().requires_grad_(True)


def dot() -> Classifier:
    """Logits w x and 0 for an image of one pixel."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    classifier = classify(network, (1, 1, 1), 2).requires_grad_(True)
    network[1].weight.data.zero_()
    return classifier


def test_the_sum_of_two_gradients_by_hand() -> None:
    """At p = 1/2, g = (p - 1, p) x: norms |x| / sqrt(2)."""
    classifier, images = dot(), torch.tensor([0.3, 0.8], dtype=torch.float64).view(2, 1, 1, 1)
    clipped = Clipped(classifier, 0.4)
    norms = add(clipped, images, torch.tensor([0, 0]))
    torch.testing.assert_close(norms, torch.tensor([0.3, 0.8], dtype=torch.float64) / math.sqrt(2))
    once = 0.15 + 0.4 / math.sqrt(2)  # the second is cut down to a norm of .4
    expected = torch.tensor([[-once], [once]], dtype=torch.float64)
    torch.testing.assert_close(classifier.network[1].weight.grad, expected)


@pytest.mark.parametrize("threshold", [1e-3, 0.5, 1e3])
def test_no_sample_counts_for_more_than_the_threshold(threshold: float) -> None:
    classifier = net()
    images, labels = data(classifier)
    clipped = Clipped(classifier, threshold)
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        classifier.zero_grad()
        norm = add(clipped, image, label).item()
        total = torch.cat([one.grad.flatten() for one in trained(classifier).values()]).norm().item()
        assert total == pytest.approx(min(norm, threshold), rel=1e-12)


@pytest.mark.parametrize("physical", [1, 2, 4, 6])
def test_batches_of_any_size_give_the_same_sum(physical: int) -> None:
    classifier = net()
    images, labels = data(classifier)
    one_by_one = alone(classifier, images, labels)
    threshold = norms_of(one_by_one).median().item()
    clipped = Clipped(classifier, threshold)
    pieces = [add(clipped, x, y) for x, y in zip(images.split(physical), labels.split(physical), strict=True)]
    torch.testing.assert_close(torch.cat(pieces), norms_of(one_by_one), rtol=1e-12, atol=0)
    assert largest_difference(classifier, clipped_sum(one_by_one, threshold)) < 1e-12


def test_copies_of_a_sample_are_averaged_before_they_are_clipped() -> None:
    classifier, images = dot(), torch.tensor([0.2, 0.6, 1.0, 1.0], dtype=torch.float64).view(4, 1, 1, 1)
    clipped = Clipped(classifier, 0.3, 2)
    norms = add(clipped, images, torch.tensor([0, 0, 0, 1]))  # the copies of the second sample cancel
    torch.testing.assert_close(norms, torch.tensor([0.4 / math.sqrt(2), 0], dtype=torch.float64))
    torch.testing.assert_close(classifier.network[1].weight.grad, torch.tensor([[-0.2], [0.2]], dtype=torch.float64))
    with pytest.raises(ValueError, match="3 losses are not 2 of every sample"):
        add(clipped, images[:3], torch.tensor([0, 0, 0]))


def test_an_empty_batch_adds_zeros_everywhere() -> None:
    classifier = net()
    norms = Clipped(classifier, 1.0).add(torch.zeros(0, dtype=torch.float64))
    assert norms.shape == (0,)
    assert all(bool((one.grad == 0).all()) for one in classifier.parameters())


def test_a_sample_without_a_gradient_is_not_a_division_by_zero() -> None:
    classifier = net()
    images, labels = data(classifier, 2)
    clipped = Clipped(classifier, 1.0)
    clipped.model.train()
    losses = cross_entropy(clipped.model(images), labels, reduction="none") * torch.tensor([0.0, 1.0])
    norms = clipped.add(losses)
    one_by_one = alone(classifier, images[1:], labels[1:])
    assert norms.tolist() == [0.0, pytest.approx(norms_of(one_by_one).item(), rel=1e-12)]
    assert largest_difference(classifier, clipped_sum(one_by_one, 1.0)) < 1e-12


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_never_gets_into_the_sum(value: float, where: str) -> None:
    classifier = net()
    images, labels = data(classifier, 3)
    clipped = Clipped(classifier, 1.0)
    add(clipped, images, labels)
    before = copy.deepcopy([one.grad for one in classifier.parameters()])
    if where == "loss":
        clipped.model.train()
        losses = cross_entropy(clipped.model(images), labels, reduction="none")
        losses = losses + torch.tensor([0, value, 0])
    else:
        clipped.model.train()
        logits = clipped.model(images)
        logits.register_hook(lambda gradient: gradient + torch.tensor([[0.0], [value], [0.0]]))
        losses = cross_entropy(logits, labels, reduction="none")
    with pytest.raises(InputError, match=f"diverged: a {where} is not finite"):
        clipped.add(losses)
    after = [one.grad for one in classifier.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_nothing_is_noted_but_in_training_and_with_gradients() -> None:
    classifier = net()
    images, labels = data(classifier)
    clipped = Clipped(classifier, 1.0)
    clipped.model.eval()
    clipped.model(images)
    clipped.model.train()
    with torch.no_grad():
        clipped.model(images)
    point = images.clone().requires_grad_()
    clipped.model.eval()
    torch.autograd.grad(clipped.model(point).sum(), point)
    assert noted(clipped) == []
    clipped.model.train()
    clipped.model(images)
    assert len(noted(clipped)) == 4  # convolution, BatchNorm, convolution, dense layer
    add(clipped, images, labels)
    assert noted(clipped) == []


def noted(clipped: Clipped) -> list[Call]:
    return next(module.tape.calls for module in clipped.model.modules() if isinstance(module, Site))


def test_the_model_answers_as_the_classifier_does_and_follows_its_weights() -> None:
    classifier = net()
    images, _ = data(classifier)
    clipped = Clipped(classifier, 1.0)
    for _ in range(2):
        torch.testing.assert_close(clipped.model.train()(images), classifier.eval()(images), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(clipped.model.eval()(images), classifier(images), rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            for parameter in classifier.parameters():
                parameter.add_(0.1)


def test_statistics_of_batch_norms_do_not_move() -> None:
    classifier = net()
    before = copy.deepcopy(classifier.state_dict())
    clipped = Clipped(classifier, 1.0)
    add(clipped, *data(classifier))
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())


def test_two_forwards_make_one_loss() -> None:
    """As in TRADES: clean and perturbed images, both with gradients."""
    classifier = net()
    images, labels = data(classifier)
    others = images.flip(3)

    def losses(model: nn.Module, rows: slice) -> Tensor:
        clean = cross_entropy(model(images[rows]), labels[rows], reduction="none")
        return clean + 6 * (model(others[rows]) - model(images[rows])).square().sum(1)

    parameters = trained(classifier)
    samples = [
        dict(
            zip(
                parameters,
                torch.autograd.grad(losses(classifier, slice(i, i + 1)), [*parameters.values()]),
                strict=True,
            )
        )
        for i in range(len(images))
    ]
    threshold = norms_of(samples).median().item()
    clipped = Clipped(classifier, threshold)
    norms = clipped.add(losses(clipped.model.train(), slice(None)))
    torch.testing.assert_close(norms, norms_of(samples), rtol=1e-10, atol=0)
    assert largest_difference(classifier, clipped_sum(samples, threshold)) < 1e-10


def test_adversarial_examples_are_found_through_the_model() -> None:
    classifier = net()
    images, labels = data(classifier)
    clipped = Clipped(classifier, 1.0)
    batch = Batch(classifier, images, labels, Stream(0, "test", tuple(range(len(images)))))
    attack = pgd(norm="linf", eps=0.1, step=0.05, steps=3)
    clipped.model.train()
    found = perturb(attack, clipped.model, images, labels, batch.draw)
    torch.testing.assert_close(found, perturb(attack, classifier, images, labels, batch.draw), rtol=0, atol=1e-12)
    assert noted(clipped) == [] and clipped.model.training


@pytest.mark.parametrize("arch", ["cnn", "wrn-16-4:widen=1", "dp-cnn"])
def test_in_bf16_norms_are_those_of_its_own_gradients_and_the_threshold_holds(arch: str) -> None:
    torch.manual_seed(0)
    network = ours(arch)()
    group_norms(network)
    classifier = classify(network, (3, 32, 32), 5, torch.float32).requires_grad_(True)
    images, labels = data(classifier, 4)
    norms = norms_of(alone(asked_in("bf16", classifier), images, labels))  # type: ignore[arg-type]
    clipped = Clipped(classifier, norms.min().item() / 2)
    model = asked_in("bf16", clipped.model.train())
    torch.testing.assert_close(
        clipped.add(cross_entropy(model(images), labels, reduction="none")), norms, rtol=0.02, atol=0
    )
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        classifier.zero_grad()
        clipped.add(cross_entropy(model(image), label, reduction="none"))
        total = torch.cat([one.grad.flatten() for one in trained(classifier).values()]).norm().item()
        assert total == pytest.approx(clipped.max_grad_norm, rel=1e-5)


def test_a_batch_norm_in_training_mode_is_refused_by_name() -> None:
    classifier = net().train()
    with pytest.raises(InputError, match=r"BatchNorm '1' mixes the images .* GroupNorm"):
        Clipped(classifier, 1.0)
    classifier.still = (classifier.network[1],)  # of a frozen layer: it will be put into evaluation mode
    Clipped(classifier, 1.0)


def test_a_batch_norm_without_statistics_is_refused_by_name() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    classifier = classify(nn.Sequential(network, nn.Linear(64, 3)), (2, 6, 6), 3).requires_grad_(True)
    with pytest.raises(InputError, match=r"'0.1'|cannot be trained privately"):
        Clipped(classifier, 1.0)


MIXING = {
    "mean over images": lambda self, x: self.inner(x.flatten(1) - x.flatten(1).mean(0)),
    "neighbour": lambda self, x: self.inner(x.flatten(1)).roll(1, 0) + self.inner(x.flatten(1)),
    "weight times number of images": lambda self, x: self.inner(x.flatten(1)) + self.inner.bias * x.shape[0],
    "images second": lambda self, x: self.inner((x.flatten(1) + self.several).mean(0)),
    "images last": lambda self, x: (self.inner.weight @ x.flatten(1).T).T,
}


@pytest.mark.parametrize("mixing", MIXING)
def test_a_network_that_mixes_images_is_refused(mixing: str) -> None:
    network = Then(MIXING[mixing], inner=nn.Linear(8, 3), several=nn.Parameter(torch.ones(4, 1, 8)))
    classifier = classify(network, (2, 2, 2), 3).requires_grad_(True)
    if mixing == "images last":
        classifier.network.inner.bias.requires_grad_(False)
    with pytest.raises(InputError, match=r"use another architecture|use an architecture"):
        Clipped(classifier, 1.0)


def test_a_network_that_cannot_be_traced_is_refused_with_the_reason() -> None:
    def branch(self: Then, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.flatten(1))
        return out if out.sum() > 0 else -out

    classifier = classify(Then(branch, inner=nn.Linear(8, 3)), (2, 2, 2), 3).requires_grad_(True)
    with pytest.raises(InputError, match="cannot be trained privately: Then cannot be traced"):
        Clipped(classifier, 1.0)


def test_a_layer_with_several_outputs_is_refused_by_name() -> None:
    recurrent = Then(lambda s, x: s.inner(x.flatten(2))[0].flatten(1), inner=nn.LSTM(4, 3, batch_first=True))
    classifier = classify(nn.Sequential(recurrent, nn.Linear(6, 3)), (2, 2, 2), 3).requires_grad_(True)
    with pytest.raises(InputError, match=r"layer '0.inner' returns more than one tensor"):
        Clipped(classifier, 1.0)


def test_a_parameter_that_nothing_uses_has_a_gradient_of_zero() -> None:
    classifier = classify(
        Then(lambda s, x: s.inner(x.flatten(1)), inner=nn.Linear(8, 3), other=nn.Linear(2, 2)), (2, 2, 2), 3
    )
    classifier.requires_grad_(True)
    add(Clipped(classifier, 1.0), *data(classifier))
    assert bool((classifier.network.other.weight.grad == 0).all())
    assert bool((classifier.network.inner.weight.grad != 0).any())


def test_only_the_head_is_trained_when_the_body_is_frozen() -> None:
    classifier = net()
    freeze(classifier, ("body",))
    clipped = Clipped(classifier, 1.0)
    images, labels = data(classifier)
    one_by_one = alone(classifier, images, labels)
    assert list(one_by_one[0]) == ["network.7.weight", "network.7.bias"]
    norms = add(clipped, images, labels)
    torch.testing.assert_close(norms, norms_of(one_by_one), rtol=1e-12, atol=0)
    assert largest_difference(classifier, clipped_sum(one_by_one, 1.0)) < 1e-12


def test_building_it_changes_neither_the_classifier_nor_the_random_numbers() -> None:
    classifier = net()
    classifier.network[1].weight.data.fill_(1.0)  # as of a fresh norm
    classifier.still = (classifier.network[1],)
    classifier.train()
    before, modes = copy.deepcopy(classifier.state_dict()), [m.training for m in classifier.modules()]
    state = torch.get_rng_state()
    Clipped(classifier, 1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    assert modes == [m.training for m in classifier.modules()]
    assert all(one.grad is None for one in classifier.parameters())
    assert torch.equal(state, torch.get_rng_state())
