"""The bridge to torchattacks: its own results on our models, and nothing of the caller's touched."""

from __future__ import annotations

import ast
import inspect
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torchattacks
from torch import nn

import xaicli.attack.library
from tests.attack.runs import attacked
from tests.nets import linear, small_net, some_images
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.runner import most_forwards
from xaicli.data.dataset import UNKNOWN
from xaicli.errors import UsageError
from xaicli.methods import describe, names
from xaicli.models.classifier import Classifier
from xaicli.run.random import generator
from xaicli.specs import parse_spec

BORROWED: dict[str, Borrowed] = {
    name: made for name in names("attack") if isinstance(made := describe("attack", name).load()(), Borrowed)
}
OURS = {"model", "verbose", "seed", "n_classes"}  # the bridge's to fill in
STRANGE = {("PGDRS", "noise_type"), ("PGDRSL2", "noise_type"), ("Square", "loss")}  # spelled or ordered otherwise

NET = small_net(seed=1, classes=4, dtype=torch.float32)
IMAGES = some_images(8, NET)
LABELS = NET(IMAGES).argmax(1)
LABELS[3] = (LABELS[3] + 1) % 4  # wrong from the start
LABELS[5] = UNKNOWN


def test_everything_the_library_ships_is_there() -> None:
    here = {borrowed.library for borrowed in BORROWED.values()}
    assert here == set(torchattacks.__all__) - set(torchattacks.__wrapper__)
    assert len(BORROWED) == len(here)
    mine = {name.removeprefix("torchattacks-") for name in BORROWED}
    assert mine == {borrowed.library.lower() for borrowed in BORROWED.values()}


@pytest.mark.parametrize("name", BORROWED)
def test_options_are_the_librarys(name: str) -> None:
    library = BORROWED[name].library
    theirs = inspect.signature(getattr(torchattacks, library)).parameters
    ours = inspect.signature(describe("attack", name).load()).parameters
    assert {key for key in ours if key != "towards"} == theirs.keys() - OURS
    for key, parameter in ours.items():
        if key in theirs and (library, key) not in STRANGE:
            expected = theirs[key].default
            assert parameter.default == (NORM[expected] if key == "norm" else expected), key


NORM = {"Linf": "linf", "L2": "l2"}


def test_describing_attacks_imports_nothing_of_the_library() -> None:
    for path in Path(xaicli.attack.library.__file__).parent.glob("*.py"):
        top = ast.parse(path.read_text()).body
        modules = [node.module for node in top if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
        assert "torchattacks" not in modules, path.name


def normalised_net() -> Classifier:
    plain = small_net(seed=1, classes=4, dtype=torch.float32)
    mean, std = [0.4, 0.6], [0.25, 0.3]
    made = Classifier(plain.network, mean, std, plain.class_names, plain.shape)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["cw", "deepfool", "mifgsm"])
def test_images_are_those_of_the_library_with_the_right_normalisation(name: str) -> None:
    net = normalised_net()
    labels = net(IMAGES).argmax(1)
    done = attacked(name, net, IMAGES, labels)
    theirs = getattr(torchattacks, BORROWED[name].library)(net.network)
    theirs.set_normalization_used(net.mean.flatten().tolist(), net.std.flatten().tolist())
    moved = broken = 0
    for row in range(len(IMAGES)):
        image = IMAGES[row : row + 1]
        found = theirs((image - net.mean) / net.std, labels[row : row + 1]) * net.std + net.mean
        torch.testing.assert_close(done.images[row], found[0].detach(), rtol=0, atol=2e-5)
        moved += bool((found - image).abs().max() > 1e-3)
        broken += bool((net(found).argmax(1) != labels[row]).item())
    assert moved >= 5
    assert done.success.sum() >= broken >= 5  # also those that end on the border


@pytest.mark.parametrize("name", ["difgsm", "rfgsm", "onepixel", "pixle", "jitter"])
def test_random_numbers_are_the_rows(name: str) -> None:
    done = attacked(name, NET, IMAGES, LABELS, index=range(50, 58))
    for row in (0, 6):
        seed = int(generator(0, "attack/torchattacks", 50 + row).integers(2**32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)
            theirs = getattr(torchattacks, BORROWED[name].library)(NET)
            found = theirs(IMAGES[row : row + 1].clone(), LABELS[row : row + 1])[0]
        torch.testing.assert_close(done.images[row], found.float(), rtol=0, atol=1e-7)
    rows = [6, 1, 4]
    part = attacked(name, NET, IMAGES[rows], LABELS[rows], index=[56, 51, 54])
    assert torch.equal(part.images, done.images[rows]) and torch.equal(part.logits, done.logits[rows])
    assert not torch.equal(attacked(name, NET, IMAGES, LABELS, seed=1).images, done.images)


@pytest.mark.parametrize("name", ["cw", "jsma", "eadl1:max-iterations=10", "torchattacks-fab", "torchattacks-apgdt"])
def test_the_callers_model_and_random_state_are_untouched(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = small_net(seed=1, classes=4, dtype=torch.float32)
    net.train()
    net.network[1].eval()
    net.requires_grad_()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    torch.manual_seed(3)
    np.random.seed(4)
    random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    images = IMAGES.clone()
    attacked(name, net, images, LABELS)
    assert torch.equal(images, IMAGES)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == flags
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert capsys.readouterr().out == ""


def test_a_library_that_errs_is_held_within_box_ball_and_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forward(self, images, labels):
        print("a word to standard output")
        if images.mean() > middle:
            raise IndexError("no such class")
        return images + 5

    means = IMAGES.mean((1, 2, 3))
    middle = means.median()
    fails = (means > middle) & (NET(IMAGES).argmax(1) == LABELS)
    moves = (means <= middle) & (NET(IMAGES).argmax(1) == LABELS)
    for name in ("GN", "FGSM"):
        monkeypatch.setattr(getattr(torchattacks, name), "forward", forward)
    free, held = attacked("gn", NET, IMAGES, LABELS), attacked("torchattacks-fgsm:eps=0.03", NET, IMAGES, LABELS)
    said = capsys.readouterr()
    assert said.out == "" and "a word to standard output" in said.err
    assert fails.sum() > 1 and said.err.count("torchattacks' GN failed on row") == 1
    for done, expected in ((free, torch.ones_like(IMAGES)), (held, (IMAGES + 0.03).clamp(max=1))):
        torch.testing.assert_close(done.images[moves], expected[moves])
        assert torch.equal(done.images[~moves], IMAGES[~moves])
        assert torch.equal(done.logits.isnan().all(1), fails)
        assert torch.equal(done.success, moves & (NET(done.images).argmax(1) != LABELS))
    assert (held.distance <= 0.03 + 1e-7).all()


def test_an_image_that_is_not_finite_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchattacks.GN, "forward", lambda self, images, labels: images / 0)
    done = attacked("gn", NET, IMAGES, LABELS)
    right = NET(IMAGES).argmax(1) == LABELS
    assert torch.equal(done.images, IMAGES) and not done.success.any()
    assert torch.equal(done.logits.isnan().all(1), right)


def test_stopping_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from xaicli.errors import StoppedError

    def forward(self, images, labels):
        raise StoppedError("stopped early")

    monkeypatch.setattr(torchattacks.GN, "forward", forward)
    with pytest.raises(StoppedError):
        attacked("gn", NET, IMAGES, LABELS)


W = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
FLAT = linear(W, torch.tensor([0.3, 0.0]))
CENTRAL = 0.4 + 0.2 * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_closed_forms_on_a_linear_model() -> None:
    labels = FLAT(CENTRAL).argmax(1)
    logits = FLAT(CENTRAL)
    gap = (logits[:, 0] - logits[:, 1]).abs()
    away = torch.where(labels == 0, 1.0, -1.0).view(-1, 1, 1, 1) * (W[1] - W[0])
    border = attacked("deepfool:overshoot=0.02", FLAT, CENTRAL, labels)
    assert border.success.all()
    torch.testing.assert_close(border.distance, 1.02 * gap / (W[1] - W[0]).norm(), rtol=1e-4, atol=0)
    corner = attacked("bim:eps=0.02,alpha=0.005,steps=10", FLAT, CENTRAL, labels)
    torch.testing.assert_close(corner.images, CENTRAL + 0.02 * away.sign(), rtol=0, atol=1e-6)
    assert torch.equal(corner.success, gap < 0.02 * (W[1] - W[0]).abs().sum())


def test_pixels_are_counted() -> None:
    done = attacked("onepixel:pixels=2,steps=3", NET, IMAGES, LABELS)
    changed = (done.images != IMAGES).any(1).flatten(1).sum(1)
    assert torch.equal(done.distance, changed.float()) and changed.max() <= 2 and changed.max() > 0
    total = attacked("eadl1:max-iterations=30", NET, IMAGES, LABELS)
    torch.testing.assert_close(total.distance, (total.images - IMAGES).abs().flatten(1).sum(1))


@pytest.mark.parametrize(
    "name", ["jsma", "spsa:towards=runner-up", "pifgsmpp:towards=least-likely", "bim:towards=random"]
)
def test_targets(name: str) -> None:
    channels = 3 if name.startswith("pif") else 2
    net = small_net(seed=1, classes=4, channels=channels, dtype=torch.float32)
    images = some_images(8, net)
    logits = net(images)
    labels = logits.argmax(1)
    done = attacked(name, net, images, labels)
    order = logits.argsort(1, descending=True)
    if name == "jsma":
        assert torch.equal(done.target, (labels + 1) % 4)
    elif "random" in name:
        assert (done.target != labels).all() and (done.target < 4).all()
    else:
        assert torch.equal(done.target, order[:, 1 if "runner-up" in name else 3])
    assert torch.equal(done.success, net(done.images).argmax(1) == done.target)
    aimed = done.target.unsqueeze(1)
    risen = (net(done.images).log_softmax(1) - logits.log_softmax(1)).gather(1, aimed)
    assert (risen > 0).all()


@pytest.mark.parametrize(
    ("text", "shape", "classes", "sentence"),
    [
        ("tifgsm", (1, 8, 8), 10, "takes images of 3 channels, and these have 1"),
        ("pifgsm", (1, 8, 8), 10, "takes images of 3 channels"),
        ("pixle", (3, 8, 9), 10, "takes square images, and these are 8x9"),
        ("torchattacks-apgdt", (3, 8, 8), 3, "needs 4 classes, and this model has 3"),
        ("torchattacks-apgd:loss=dlr", (3, 8, 8), 2, "needs 3 classes"),
        ("upgd:loss=dlr,towards=random", (3, 8, 8), 3, "needs 4 classes"),
        ("jsma", (3, 224, 224), 10, "compares all pairs of an image's 150528 values, which takes 84 GiB"),
        ("eadl1:max-iterations=9", (3, 8, 8), 10, "use at least 10, or abort-early=false."),
        ("pixle:x-dimensions=1.5", (3, 8, 8), 10, "whole pixels or shares below 1"),
    ],
)
def test_what_the_library_cannot_do_is_refused(text: str, shape: tuple, classes: int, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        spec = parse_spec("attack", text)
        most_forwards(spec.method.load()(**spec.options), shape, classes)
    assert sentence in str(refused.value)


def test_sides_of_patches_are_pixels_or_shares() -> None:
    spec = parse_spec("attack", "pixle:x-dimensions=0.5,y-dimensions=1,3")
    options = spec.method.load()(**spec.options).options
    assert options["x_dimensions"] == (0.5, 0.5)
    assert options["y_dimensions"] == (1, 3) and all(type(side) is int for side in options["y_dimensions"])


def test_a_module_that_never_trains_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[nn.Module] = []

    def forward(self, images, labels):
        seen.append(self.model)
        assert not any(module.training for module in self.model.modules())
        assert self.model(images).dtype == torch.float32
        return images

    monkeypatch.setattr(torchattacks.GN, "forward", forward)
    net = small_net(seed=1, classes=4)
    net.train()
    attacked("gn", net, IMAGES.double(), net(IMAGES.double()).argmax(1))
    assert seen
