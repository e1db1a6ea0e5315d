from __future__ import annotations

import sys

import pytest
import timm
import torch

from xaicli.errors import UnavailableError, UsageError
from xaicli.models.arch import arch_from_record, build_network, parse_arch, usual_shape
from xaicli.models.timm_models import build_timm


def test_the_network_is_timms() -> None:
    network = build_network(parse_arch("timm:resnet18"), 7, 1, (32, 32)).eval()
    twin = timm.create_model("resnet18", pretrained=False, num_classes=7, in_chans=1).eval()
    twin.load_state_dict(network.state_dict())
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(image), twin(image))


def test_parameter_count_is_that_of_the_paper() -> None:
    with torch.device("meta"):  # 4.65 million in the table of EfficientNet-Lite
        assert sum(p.numel() for p in build_timm("efficientnet_lite0", 1000, 3, (224, 224)).parameters()) == 4_652_008


def test_models_made_for_one_size_are_built_for_the_images() -> None:
    with torch.device("meta"):
        network = build_timm("vit_tiny_patch16_224", 4, 3, (64, 64))
    assert network.pos_embed.shape == (1, 17, 192)
    with pytest.raises(UsageError, match="'timm:vit_tiny_patch16_224' cannot") as caught:
        build_timm("vit_tiny_patch16_224", 4, 3, (8, 8))
    assert "\n" not in str(caught.value)


def test_the_usual_shape_is_timms_own() -> None:
    assert usual_shape(parse_arch("timm:inception_v3")) == (3, 299, 299)
    assert usual_shape(parse_arch("torchvision:resnet18")) == (3, 224, 224)
    assert usual_shape(parse_arch("cnn")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:efficientnet_lit0", r"timm has no classifier 'efficientnet_lit0'. Did you mean 'efficientnet_lite0'\?"),
        ("timm:hf-hub:someone/model", "timm has no classifier 'hf-hub'"),
        ("timm:", "timm has no classifier ''"),
        ("timm:resnet18:width=3", "timm's models take none here; write timm:resnet18"),
    ],
)
def test_only_its_own_models_can_be_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_arch(text)


def test_without_timm_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for read in (lambda: parse_arch("timm:resnet18"), lambda: arch_from_record({"name": "timm:x", "options": {}}, "m")):
        with pytest.raises(UnavailableError, match=r"pip install xaicli\[timm\]"):
            read()
