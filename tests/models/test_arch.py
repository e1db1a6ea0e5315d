from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from xaicli.errors import InputError, MissingError, PluginError, UsageError
from xaicli.models.arch import Arch, arch_from_record, build_network, list_architectures, parse_arch

FACTORY = """
from torch import nn

def make(*, num_classes, channels, width: int = 4, slope: float = 0.5, bias: bool = True, name: str | None = None):
    conv = nn.Conv2d(channels, width, 3)
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

class Net(nn.Sequential):
    def __init__(self, num_classes, channels, hidden, **rest):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))

def odd(num_classes, channels, sizes: list = ()):
    return None
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_net.py"
    path.write_text(FACTORY)
    return path


def test_built_in_names_with_their_options() -> None:
    assert parse_arch("cnn") == Arch("cnn", {"width": 16, "depth": 5})
    assert parse_arch(" cnn:width=32,depth=7 ") == Arch("cnn", {"width": 32, "depth": 7})
    assert parse_arch("resnet18-cifar").record == {"name": "resnet18-cifar", "options": {"width": 64}}
    assert parse_arch("torchvision:resnet18") == Arch("torchvision:resnet18")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cn", r"no architecture 'cn'. Did you mean 'cnn'\?"),
        ("", "no architecture ''"),
        ("resnet18", r"Did you mean 'resnet18-cifar'\?"),
        ("cnn:widht=3", r"'cnn' has no option 'widht'. Did you mean 'width'\? Its options are: width, depth."),
        ("cnn:width=big", "'cnn:width=big' is not valid"),
        ("cnn:width=1.5", "whole number"),
        ("cnn:width=0", "whole number > 0"),
        ("cnn:width", "write options as NAME:key=value"),
        ("cnn:width=3,width=4", "twice"),
        ("torchvision:resnet8", r"Did you mean 'resnet\d+'\?"),
        ("torchvision:resnet18:width=3", "take none"),
        ("net.py", r"net\.py:FACTORY"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_arch(text)
    assert "\n" not in str(caught.value)


def test_a_factory_is_typed_by_its_signature(file: Path) -> None:
    arch = parse_arch(f"{file}:make:width=8,slope=1/4,bias=no,name=none")
    assert arch.options == {"width": 8, "slope": 0.25, "bias": False, "name": None}
    assert arch.record == {
        "name": "my_net.py:make",
        "options": {"width": 8, "slope": 0.25, "bias": False, "name": None},
        "file": str(file),
        "sha256": hashlib.sha256(FACTORY.encode()).hexdigest(),
    }
    assert arch.identity == {key: value for key, value in arch.record.items() if key != "file"}
    assert (arch.slug, str(parse_arch(f"{file}:make:width=8"))) == ("my_net-make", "my_net.py:make:width=8")


def test_options_without_a_type_are_taken_as_they_look(file: Path) -> None:
    arch = parse_arch(f"{file}:Net:hidden=3,a=-2,b=0.5,c=true,d=gelu,e=1/2")
    assert arch.options == {"hidden": 3, "a": -2, "b": 0.5, "c": True, "d": "gelu", "e": 0.5}
    assert [type(value) for value in arch.options.values()] == [int, int, float, bool, str, float]


@pytest.mark.parametrize(
    ("tail", "error", "message"),
    [
        ("make:wide=3", UsageError, r"'make' has no option 'wide'. Did you mean 'width'\?"),
        ("make:num_classes=3", UsageError, "no option 'num_classes'"),
        ("make:width=x", UsageError, "'make:width=x' is not valid"),
        ("Net", UsageError, "needs the option hidden"),
        ("mak", UsageError, r"no factory 'mak'. Did you mean 'make'\?"),
        ("odd:sizes=3", PluginError, "annotate it with int, float, bool or str"),
    ],
)
def test_a_factory_that_does_not_fit_the_command(file: Path, tail: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_arch(f"{file}:{tail}")


def test_a_factory_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.py"):
        parse_arch(f"{tmp_path}/absent.py:make")
    with pytest.raises(MissingError, match="not a file"):
        parse_arch(f"{tmp_path / 'folder.py'}:make")


def test_a_record_comes_back_as_the_same_architecture() -> None:
    for text in ("cnn:width=8", "resnet34-cifar", "vgg16-cifar", "mlp:hidden=8", "torchvision:vgg11"):
        arch = parse_arch(text)
        assert arch_from_record(arch.record, "'m'") == arch


def test_options_that_a_later_version_added_get_their_defaults() -> None:
    assert arch_from_record({"name": "cnn", "options": {"width": 8}}, "'m'").options == {"width": 8, "depth": 5}


@pytest.mark.parametrize(
    "record",
    [
        {"name": "mlp-mixer", "options": {}},
        {"name": "torchvision:evilnet", "options": {}},
        {"name": "mlp", "options": {"hidden": [[8]]}},
        {"name": "mlp", "options": {"hidden": 8}},
        {"name": "cnn:width=3", "options": {}},
        {"name": "cnn", "options": {"hidden": 3}},
        {"name": "cnn", "options": {"width": "3"}},
        {"name": "cnn", "options": {"width": True}},
        {"name": "cnn", "options": {"width": {"a": 1}}},
    ],
)
def test_a_record_that_makes_no_sense_is_an_input_error(record: dict[str, object]) -> None:
    with pytest.raises(InputError, match="'m'"):
        arch_from_record(record, "'m'")


def test_a_record_without_a_file_never_imports_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("import pathlib\npathlib.Path('ran').touch()")
    monkeypatch.chdir(file.parent)
    for name in ("my_net.py:make", f"{file}:make"):
        with pytest.raises(InputError):
            arch_from_record({"name": name, "options": {}}, "'m'")
    assert not Path("ran").exists()


def test_build_network_passes_classes_channels_and_options(file: Path) -> None:
    network = build_network(parse_arch(f"{file}:make:width=8"), 5, 2, (16, 16))
    assert [tuple(p.shape) for p in network.parameters()] == [(8, 2, 3, 3), (8,), (5, 8), (5,)]
    assert sum(p.numel() for p in build_network(parse_arch("cnn"), 10, 1, (32, 32)).parameters()) == 60_922


def test_every_listed_name_can_be_parsed() -> None:
    names = [name for name, _ in list_architectures()]
    built_in = ["cnn", "resnet18-cifar", "resnet34-cifar", "resnet50-cifar", "vgg16-cifar", "wrn-16-4", "dp-cnn", "mlp"]
    built_in += ["bnn-mlp"]
    assert names == [*built_in, "torchvision:NAME", "timm:NAME", "FILE.py:FACTORY"]
    assert [parse_arch(name).name for name in built_in] == built_in


def test_listing_does_not_import_torch() -> None:
    program = "import sys, xaicli.models.arch as arch; arch.list_architectures(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
