"""Foreign weights become checkpoints that answer as the original module did, its normalisation included."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xaicli.errors import InputError, MissingError, UsageError
from xaicli.files.checkpoint import read_meta
from xaicli.files.record import Record
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.load import load_classifier
from xaicli.run.importing import Request, import_weights
from xaicli.run.settings import Settings

SMALL = "resnet18-cifar:width=4"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
Importer = Callable[..., Record]


class Normalised(nn.Module):
    """What RobustBench has: `mu` and `sigma` as buffers of the network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mu", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor(STD).view(1, 3, 1, 1))
        self.model = network

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mu) / self.sigma)


class Fed(nn.Module):
    """A network that is fed (x - 0.5) / 0.25."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - 0.5) / 0.25)


class InputNormalize(nn.Module):
    """Of MadryLab/robustness."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("new_mean", torch.tensor(MEAN)[..., None, None])
        self.register_buffer("new_std", torch.tensor(STD)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.new_mean) / self.new_std


class Attacker(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = InputNormalize()
        self.model = network


class AttackerModel(nn.Module):
    """Of MadryLab/robustness: the network is held twice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalizer = InputNormalize()
        self.model = network
        self.attacker = Attacker(network)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.normalizer(x))


def trained(arch: str = SMALL, shape: tuple[int, int, int] = (3, 32, 32)) -> nn.Module:
    """Random weights, and BatchNorm statistics that are not the identity."""
    torch.manual_seed(0)
    network = build_network(parse_arch(arch), 5, shape[0], shape[1:])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked += 3
    return network.eval()


def respelled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that both libraries give to residual networks for small images."""
    names = {"downsample.": "shortcut.", "fc.": "linear."}
    return OrderedDict((_replaced(name, names), tensor) for name, tensor in state.items())


def _replaced(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return name


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.fixture
def bring(tmp_path: Path) -> Importer:
    """Save a content, import it, and give back the record."""

    def bring(content: Any, arch: str = SMALL, settings: Settings | None = None, **said: Any) -> Record:
        weights = tmp_path / "weights.pt"
        torch.save(content, weights)
        settings = settings or Settings(output=str(tmp_path / "m.safetensors"))
        (record,) = import_weights(Request(weights, arch, **said), settings)
        return record

    return bring


def assert_same(record: Record, original: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (3, 32, 32)) -> None:
    """Equal logits, in double precision because another memory layout alone makes 1e-6 of a difference in single."""
    pixels = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1)).double()
    if isinstance(original, nn.Module):
        original.double()
    with torch.no_grad():
        expected = original(pixels)
        assert expected.std() > 1e-3
        torch.testing.assert_close(load_classifier(record["path"]).double()(pixels), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arch", "shape", "layer"),
    [
        ("resnet34-cifar:width=4", (3, 32, 32), "layer4"),
        ("resnet50-cifar:width=4", (3, 32, 32), "layer4"),
        ("vgg16-cifar:width=4", (3, 32, 32), "stage5"),
        ("mlp:hidden=8,6", (1, 28, 28), None),
        ("torchvision:mobilenet_v2", (3, 64, 64), "features"),
        ("timm:resnet10t", (3, 64, 64), "layer4"),
    ],
)
def test_a_plain_state_dict(bring: Importer, arch: str, shape: tuple[int, int, int], layer: str | None) -> None:
    network = trained(arch, shape)
    record = bring(network.state_dict(), arch, shape=shape, mean=(0.5,), std=(0.25,))
    assert_same(record, Fed(network), shape)
    assert record["layer"] == layer
    assert (layer in record["layers"]) == (layer is not None)
    meta, id = read_meta(record["path"])
    assert (meta.classes, meta.shape, id) == (tuple("01234"), shape, record["id"])
    assert meta.metrics == record["metrics"] == {}


def test_the_layers_are_listed(bring: Importer) -> None:
    record = bring(trained().state_dict())
    blocks = [name for n in (1, 2, 3, 4) for name in (f"layer{n}.0", f"layer{n}.1", f"layer{n}")]
    assert record["layers"] == ["conv1", "bn1", "relu", *blocks]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net", "state_dict_ema"])
def test_wrappers_and_prefixes(bring: Importer, prefix: str, wrapper: str | None) -> None:
    network = trained()
    state = under(prefix, network.state_dict())
    assert_same(bring({wrapper: state, "epoch": 3} if wrapper else state), network)


def test_safetensors_without_counters(tmp_path: Path) -> None:
    network, weights = trained(), tmp_path / "w.safetensors"
    save_file({name: tensor for name, tensor in network.state_dict().items() if tensor.ndim}, weights)
    (record,) = import_weights(Request(weights, SMALL), Settings(output=f"{tmp_path}/m.safetensors"))
    assert_same(record, network)


@pytest.mark.parametrize("spelling", [lambda state: state, respelled])
def test_madrylab_robustness(bring: Importer, capsys: pytest.CaptureFixture[str], spelling: Any) -> None:
    original = AttackerModel(trained())
    content = {
        "model": spelling(under("module.", original.state_dict())),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "schedule": {"last_epoch": 150, "_last_lr": [0.001]},
        "epoch": 150,
    }
    assert_same(bring(content), original)
    assert capsys.readouterr().err == (
        "normalisation of the file: --mean 0.4914,0.4822,0.4465 --std 0.2023,0.1994,0.201.\n"
    )


@pytest.mark.parametrize("spelling", [lambda state: state, respelled])
@pytest.mark.parametrize("wrapped", [True, False])
def test_robustbench(bring: Importer, spelling: Any, wrapped: bool) -> None:
    network = trained()
    original = Normalised(network)
    state = spelling(original.state_dict() if wrapped else {"mu": original.mu, "sigma": original.sigma,
                                                            **network.state_dict()})  # fmt: skip
    assert_same(bring({"state_dict": under("module.", state)}), original)


def test_robustbench_for_imagenet(bring: Importer) -> None:
    buffers = {
        "normalize.mean": torch.tensor(MEAN).view(1, 3, 1, 1),
        "normalize.std": torch.tensor(STD).view(1, 3, 1, 1),
    }
    network = trained()
    assert_same(bring({**buffers, **under("model.", network.state_dict())}), Normalised(network))


def test_what_the_user_says_wins_over_the_files_normalisation(bring: Importer) -> None:
    network = trained()
    record = bring(Normalised(network).state_dict(), mean=(0.5,), std=(0.25,))
    assert_same(record, Fed(network))


def test_a_network_that_normalises_by_itself_keeps_its_buffers(
    bring: Importer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\nfrom torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, num_classes, channels):\n"
        "        super().__init__()\n"
        "        self.register_buffer('mean', torch.zeros(3, 1, 1))\n"
        "        self.register_buffer('std', torch.ones(3, 1, 1))\n"
        "        self.fc = nn.Linear(3, num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.fc(((x - self.mean) / self.std).mean((2, 3)))\n"
    )
    file.chmod(0o644)
    tmp_path.chmod(0o755)
    fc = {"fc.weight": torch.rand(5, 3), "fc.bias": torch.rand(5)}
    mean, std = torch.rand(3, 1, 1), torch.rand(3, 1, 1) + 0.5
    record = bring({"module.mean": mean, "module.std": std, **under("module.", fc)}, f"{file}:Own")
    means = lambda pixels: ((pixels - mean) / std).mean((2, 3))  # noqa: E731
    assert_same(record, lambda pixels: means(pixels) @ fc["fc.weight"].double().T + fc["fc.bias"])
    assert capsys.readouterr().err == ""


def test_one_of_several_sets_of_weights(bring: Importer) -> None:
    network = trained()
    content = {"state_dict": trained("resnet18-cifar:width=5").state_dict(), "state_dict_ema": network.state_dict()}
    with pytest.raises(InputError, match="choose one with --entry"):
        bring(content)
    assert_same(bring(content, entry="state_dict_ema"), network)


def test_other_names_are_matched_by_order_on_request(bring: Importer) -> None:
    network = trained()
    state = {
        f"x.{number}.{name.rpartition('.')[2]}": t for number, (name, t) in enumerate(network.state_dict().items())
    }
    with pytest.raises(InputError, match="add --match order"):
        bring(state)
    assert_same(bring(state, match="order"), network)


def test_class_names(bring: Importer, tmp_path: Path) -> None:
    content = {"state_dict": trained().state_dict(), "class_to_idx": dict(zip("edcba", range(5), strict=True))}
    file = tmp_path / "names.txt"
    file.write_text("one\ntwo\n\nthree\nfour\nfive\n")
    force = Settings(output=str(tmp_path / "m.safetensors"), force=True)
    for said, names in {None: "edcba", "5": "edcba", str(file): ("one", "two", "three", "four", "five")}.items():
        record = bring(content, settings=force, classes=said)
        assert read_meta(record["path"])[0].classes == tuple(names)
    with pytest.raises(InputError, match=r"fc\.weight \(float32 \[5, 32\] where float32 \[7, 32\] is needed\)"):
        bring(content, settings=force, classes="7")
    with pytest.raises(MissingError, match="absent"):
        bring(content, settings=force, classes=str(tmp_path / "absent"))


def test_normalisation_of_other_channels(bring: Importer) -> None:
    with pytest.raises(UsageError, match="--mean has 2 values for 3 channels"):
        bring(trained().state_dict(), mean=(0.5, 0.5), std=(1.0,))


@pytest.fixture(scope="module")
def digits(files: Any) -> nn.Module:
    """The network of a checkpoint that was trained on digits for two epochs."""
    return load_classifier(files.checkpoint)


def test_accuracy_on_the_data_is_that_of_the_trained_model(
    bring: Importer, digits: Any, files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"mean": digits.meta.mean, "std": digits.meta.std, "data": "digits"}
    record = bring(digits.network.state_dict(), "cnn:width=4", **said)
    assert record["metrics"] == {"test_accuracy": digits.meta.metrics["test_accuracy"], "n": 360}
    meta, _ = read_meta(record["path"])
    assert meta.metrics == record["metrics"]
    assert (meta.shape, meta.classes) == ((1, 32, 32), tuple("0123456789"))
    assert capsys.readouterr().err == ""


def test_a_model_at_chance_is_announced_again_and_again(
    bring: Importer, digits: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"mean": (9.0,), "std": (0.01,), "data": "digits"}
    records = [bring(digits.network.state_dict(), "cnn:width=4", **said) for _ in range(2)]
    assert records[0] == records[1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1]
    share = records[0]["metrics"]["test_accuracy"]
    assert lines[0] == (
        f"warning: {share:.1%} of 360 test images are right, which is no better than chance for 10 classes: check the "
        "normalisation (--mean, --std), the order of the channels (RGB or BGR) and the order of the classes."
    )


def test_the_selection_is_part_of_the_job(bring: Importer, digits: Any, tmp_path: Path) -> None:
    few = Settings(output=str(tmp_path / "few.safetensors"), limit=50)
    said = {"mean": digits.meta.mean, "std": digits.meta.std, "data": "digits"}
    assert bring(digits.network.state_dict(), "cnn:width=4", few, **said)["metrics"]["n"] == 50


def test_data_of_other_classes(bring: Importer, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"model": trained("cnn:width=2").state_dict(), "classes": list("abcde")}
    with pytest.raises(InputError, match="--data has 10 classes, but the network 5; name its own data"):
        bring(content, "cnn:width=2", data="shapes")
    network = build_network(parse_arch("cnn:width=2"), 10, 3, (32, 32))
    bring({"model": network.state_dict(), "classes": list("abcdefghij")}, "cnn:width=2", data="shapes", mean=(0.5,))
    assert "the class names of the network and of the data differ" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_asked(bring: Importer, digits: Any, tmp_path: Path) -> None:
    dry = Settings(output=str(tmp_path / "m.safetensors"), dry_run=True)
    record = bring(digits.network.state_dict(), "cnn:width=4", dry, data="digits")
    assert (record["kind"], record["forwards"]) == ("info", 360)
    assert not (tmp_path / "m.safetensors").exists()


def test_the_commands_own_options(call: Callable[..., Any], here: Path) -> None:
    network = trained()
    state = {
        f"x.{number}.{name.rpartition('.')[2]}": t for number, (name, t) in enumerate(network.state_dict().items())
    }
    torch.save({"student": state, "teacher": {}}, "w.pt")
    command = ("import", "w.pt", "--arch", SMALL, "--mean", "0.5", "--std", "1/4", "--entry", "student", "--match")
    said = call(*command, "ordre")
    assert (said.code, said.err) == (2, "xaicli: --match 'ordre' is unknown. Did you mean 'order'? Use name|order.\n")
    said = call(*command, "order", "-o", "m.safetensors")
    assert (said.code, said.err) == (0, "")
    assert_same(said.record, Fed(network))
