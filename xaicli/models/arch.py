"""Architectures by name: `cnn`, `cnn:width=32`, `torchvision:resnet18`, `FILE.py:FACTORY:k=v`, and how to build one.

An option is a keyword-only parameter of the architecture's function: its annotation is its type. A function that needs
to know the image size has a positional parameter `size`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaicli.errors import InputError, UsageError, nearest
from xaicli.models.changes import Changes, changed, recorded_changes
from xaicli.models.factory import Factory, read_factory, recorded_factory
from xaicli.models.options import check_names, coerce_option, restore_option
from xaicli.signatures import Value, show
from xaicli.specs import split_options

if TYPE_CHECKING:
    from torch import nn

SMALL, LARGE = (3, 32, 32), (3, 224, 224)
"""The image shapes that architectures for small images, and torchvision's, are usually made for."""

# name -> (module:function below xaicli, summary)
ARCHITECTURES: dict[str, tuple[str, str]] = {
    "cnn": ("models.cnn:cnn", "small and quick: convolution, BatchNorm, ReLU blocks and global average pooling"),
    "resnet18-cifar": ("models.resnet:resnet18_cifar", "ResNet-18 for small images: 3x3 stem, no max-pooling"),
    "resnet34-cifar": ("models.resnet:resnet34_cifar", "ResNet-34 for small images: 3x3 stem, no max-pooling"),
    "resnet50-cifar": ("models.resnet:resnet50_cifar", "ResNet-50 for small images: 3x3 stem, no max-pooling"),
    "vgg16-cifar": (
        "models.vgg:vgg16_cifar",
        "VGG-16 for small images: convolution, ReLU, BatchNorm; one head",
    ),
    "wrn-16-4": (
        "models.wide_resnet:wrn_16_4",
        "Wide-ResNet with GroupNorm and standardised convolutions, for private training",
    ),
    "dp-cnn": ("models.dp_cnn:dp_cnn", "two convolutions and two dense layers, the usual network of private MNIST"),
    "mlp": ("models.mlp:mlp", "linear layers with ReLUs between them on the flattened image"),
    "bnn-mlp": (
        "models.bnn_mlp:bnn_mlp",
        "the same with Gaussian weights, each with a mean and a deviation of its own",
    ),
}
# prefix -> (module below xaicli, its function that builds, a name as example)
_LIBRARIES: dict[str, tuple[str, str, str]] = {
    "torchvision": ("models.torchvision_models", "build_torchvision", "resnet18"),
    "timm": ("models.timm_models", "build_timm", "efficientnet_lite0"),
}
_PATTERNS = {
    "torchvision:NAME": "any classifier of torchvision, without its weights",
    "timm:NAME": "any classifier of timm, if that is installed, without its weights",
    "FILE.py:FACTORY": "your own: called with num_classes, channels and options",
}


@dataclass(frozen=True)
class Arch:
    """An architecture with all its options, defaults included.

    `factory` is set for a user's own only. `changes`: what a recipe has made of its network.
    """

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)
    factory: Factory | None = None
    changes: Changes = field(default_factory=Changes)

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return self.name.replace(".py:", "-").replace(":", "-")

    @property
    def identity(self) -> dict[str, Any]:
        """What a job depends on: all but the path of a user's file."""
        record: dict[str, Any] = {"name": self.name, "options": _jsonable(self.options), **self.changes.record}
        return {**record, "sha256": self.factory.sha256} if self.factory else record

    @property
    def record(self) -> dict[str, Any]:
        """What the checkpoint stores."""
        return {**self.identity, "file": str(self.factory.path)} if self.factory else self.identity

    def __str__(self) -> str:
        options = ",".join(f"{name}={show(value)}" for name, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def list_architectures() -> list[tuple[str, str]]:
    """Names and one-line descriptions, for help texts."""
    return [*((name, summary) for name, (_, summary) in ARCHITECTURES.items()), *_PATTERNS.items()]


def parse_arch(text: str) -> Arch:
    """Parse an architecture from the command line.

    Raises UsageError for an unknown name or option (with the nearest spelling) and for a value of the wrong type,
    MissingError for a factory file that is not there, and PluginError for one that cannot be imported.
    """
    text = text.strip()
    if _library(text):
        return _library_arch(text)
    if ".py:" in text:
        path, name, tail = _split_factory(text)
        factory = read_factory(path, name)
        given = split_options(tail, text)
        return Arch(f"{factory.path.name}:{name}", _factory_options(factory, given), factory)
    if text.endswith(".py"):
        raise UsageError(
            f"'{text}' names no factory: write {text}:FACTORY, the function or class that makes the network."
        )
    name, _, tail = text.partition(":")
    parameters = _parameters(name)
    given = {key.replace("-", "_"): value for key, value in split_options(tail, text).items()}
    check_names(name, given, parameters)
    return Arch(name, {**_defaults(name), **{k: coerce_option(name, k, v, parameters[k]) for k, v in given.items()}})


def arch_from_record(record: Mapping[str, Any], what: str, given: str | None = None) -> Arch:
    """The architecture that a checkpoint names; a user's file is imported only if it passes the checks of `factory.py`.

    what: the checkpoint's name for the error. given: the command's own --arch, which replaces the recorded path of a
    factory. Raises InputError for a name or option that this version does not know and RefusedError for a file that is
    not to be trusted.
    """
    name, changes = str(record["name"]), recorded_changes(record, what)
    options = {key: restore_option(key, value, what) for key, value in record["options"].items()}
    if "file" in record:
        copy = _split_factory(given) if given and ".py:" in given else None
        return Arch(name, options, recorded_factory(record, what, copy[:2] if copy else None), changes)
    try:
        # Nothing but a name may reach the parser: `evil.py:f` without a recorded sha256 would be imported.
        arch = _library_arch(name) if _library(name) else Arch(name, _defaults(name))
        check_names(name, options, arch.options)
    except UsageError as error:
        raise InputError(f"{what} has an architecture that this version of xaicli does not know: {error}") from None
    for key, value in options.items():
        if type(value) is not type(arch.options[key]):
            raise InputError(
                f"{what} gives its architecture {name} the bad option {key}={value!r}; write the file again."
            )
    return Arch(name, {**arch.options, **options}, changes=changes)


def build_network(arch: Arch, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """A network from normalised images [N, C, H, W] to logits [N, K], its weights drawn from torch's global generator.

    Raises UsageError when the architecture cannot take images of this size, PluginError when a user's factory raises
    or returns something else, and InputError when it lacks a layer that was changed.
    """
    return changed(lambda: _built(arch, classes, channels, size), arch.changes, f"the architecture '{arch}'")


def _built(arch: Arch, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    if arch.factory is not None:
        from xaicli.models.contract import call_factory

        return call_factory(arch.factory, arch.options, classes, channels, size)
    if library := _library(arch.name):
        module, build, _ = _LIBRARIES[library]
        made: nn.Module = getattr(_module(module), build)(arch.name.partition(":")[2], classes, channels, size)
        return made
    builder = _builder(arch.name)
    sized = {"size": size} if "size" in inspect.signature(builder).parameters else {}
    network: nn.Module = builder(classes, channels, **sized, **arch.options)
    return network


def usual_shape(arch: Arch) -> tuple[int, int, int] | None:
    """Channels, height and width that a library's architecture is usually given; None where any will do."""
    library, _, name = arch.name.partition(":")
    if arch.factory is None and library == "timm":
        from xaicli.models import timm_models

        return timm_models.usual_shape(name)
    return LARGE if arch.factory is None and library == "torchvision" else None


def _library(text: str) -> str:
    """The library whose model is named, or an empty text."""
    prefix, colon, _ = text.partition(":")
    return prefix if colon and prefix in _LIBRARIES else ""


def _library_arch(text: str) -> Arch:
    library, _, rest = text.partition(":")
    name, _, tail = rest.partition(":")
    module, _, example = _LIBRARIES[library]
    known: list[str] = _module(module).classifier_names()
    if name not in known:
        hint = nearest(name, known)
        raise UsageError(f"{library} has no classifier '{name}'.{hint} It has, for example, {example}.")
    if tail:
        raise UsageError(f"'{text}' gives options, but {library}'s models take none here; write {library}:{name}.")
    return Arch(f"{library}:{name}")


def _module(name: str) -> Any:
    return import_module(f"xaicli.{name}")


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in ARCHITECTURES:
        known = [*ARCHITECTURES, *_PATTERNS]
        raise UsageError(f"there is no architecture '{name}'.{nearest(name, known)} Known are: {', '.join(known)}.")
    module, function = ARCHITECTURES[name][0].split(":")
    builder: Callable[..., nn.Module] = getattr(_module(module), function)
    return builder


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(_builder(name)).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _defaults(name: str) -> dict[str, Value]:
    return {key: parameter.default for key, parameter in _parameters(name).items()}


def _split_factory(text: str) -> tuple[Path, str, str]:
    """FILE.py:FACTORY:OPTIONS as path, name and the rest."""
    file, _, rest = text.partition(".py:")
    name, _, tail = rest.partition(":")
    return Path(f"{file}.py"), name, tail


def _factory_options(factory: Factory, given: Mapping[str, str]) -> dict[str, Value]:
    """Options typed against whatever signature the user wrote; a value without a declared type is taken as it looks."""
    parameters, anything = factory.parameters()
    given = {key.replace("-", "_"): value for key, value in given.items()}
    if not anything:
        check_names(factory.name, given, parameters)
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise UsageError(f"the factory '{factory.name}' needs the option {key}; write {factory.name}:{key}=VALUE.")
    return {k: coerce_option(factory.name, k, v, parameters.get(k)) for k, v in given.items()}


def _jsonable(options: Mapping[str, Value]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
