"""CAMs of one layer pass on paper numbers, and against their formulas written out in loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.explain.cams import gradcam, gradcam_plus_plus
from xaicli.explain.projections import eigencam
from xaicli.explain.queries import EXPLAIN
from xaicli.specs import parse_spec


def paper_net():
    conv = nn.Conv2d(1, 2, 3)
    fc = nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.copy_(torch.tensor([-50.0, -75.0]))
        fc.weight.copy_(torch.tensor([1.0] * 5 + [-1.0] * 3).expand(4, 8))
    return classify(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), fc, nn.ReLU()), (1, 4, 4), 4)


def cam(layer: str, relu: bool) -> list[list[float]]:
    images = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    answers = explain_answers(paper_net(), images, target="0")
    return answers.call(gradcam, {"layer": layer, "relu": relu}, "gradcam")[0, 0].tolist()


def test_the_small_example_at_the_convolution_and_at_its_relu() -> None:
    assert cam("0", False) == [[11.25, 13.5], [20.25, 22.5]]
    assert cam("1", True) == [[0, 4], [28, 32.5]]


def test_auto_is_the_last_layer_that_tells_places_apart() -> None:
    net = small_net()
    images = some_images(3, net)
    answers = explain_answers(net, images)
    assert torch.equal(maps_of("gradcam", answers), maps_of("gradcam:layer=4", answers))
    assert not torch.equal(maps_of("gradcam", answers), maps_of("gradcam:layer=2", answers))


def test_weights_and_upsampling_against_autograd_by_hand() -> None:
    net = small_net(2, side=8)
    images = some_images(3, net)
    below, above = net.network[:5], net.network[5:]
    a = below(images).requires_grad_()
    (g,) = torch.autograd.grad(above(a).amax(1).sum(), a)
    by_hand = torch.stack([sum(g[n, k].mean() * a[n, k] for k in range(4)) for n in range(3)])[:, None].detach()
    answers = explain_answers(net, images)
    torch.testing.assert_close(maps_of("gradcam:relu=false", answers), by_hand, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps_of("gradcam", answers), by_hand.clamp_min(0), rtol=0, atol=1e-12)


EIGHT = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "gradcam-elementwise", "eigencam", "eigengradcam"]


def first_component(maps: np.ndarray) -> np.ndarray:
    """The projection on the first right singular vector of the centred maps [K, h, w]."""
    places = maps.reshape(len(maps), -1).T
    centred = places - places.mean(0)
    v = np.linalg.svd(centred)[2][0]
    v = -v if v @ places.mean(0) < 0 else v
    return (centred @ v).reshape(maps.shape[1:])


def by_definition(name: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The signed map of one image from METHODS' formula, place by place, for maps [K, h, w]."""
    if name == "eigencam":
        return first_component(a)
    if name == "eigengradcam":
        return first_component(a * g)
    if name == "segeigencam":
        map = first_component(a * np.abs(g))
        return -map if np.abs(map.min()) > np.abs(map.max()) else map
    total = np.zeros(a.shape[1:])
    for k in range(len(a)):
        if name == "gradcam":
            total += g[k].mean() * a[k]
        elif name == "gradcam++":
            weight = 0.0
            for slope in g[k].flat:
                if slope > 0:
                    weight += slope**2 / (2 * slope**2 + a[k].sum() * slope**3) * slope
            total += weight * a[k]
        elif name == "xgradcam":
            total += (a[k] * g[k]).sum() / (a[k].sum() + 1e-7) * a[k]
        elif name == "hirescam":
            total += a[k] * g[k]
        elif name == "layercam":
            total += np.maximum(g[k], 0) * a[k]
        elif name == "gradcam-elementwise":
            total += np.maximum(g[k] * a[k], 0)
        else:
            assert name == "fem"
            total += (a[k] > a[k].mean() + 2 * a[k].std()).mean() * a[k]
    return total


@pytest.mark.parametrize("layer", ["auto", "0", "2"])  # 2 and auto are ReLUs, 0 has negative values as well
@pytest.mark.parametrize("name", [*EIGHT, "segeigencam", "fem"])
def test_every_cam_is_its_formula(name: str, layer: str) -> None:
    net = small_net(3, side=8)
    answers = explain_answers(net, some_images(5, net))
    asked = answers.ask("layer_pass", {"layer": layer})
    pairs = zip(asked.activations.numpy(), asked.gradients.numpy(), strict=True)
    expected = torch.as_tensor(np.stack([by_definition(name, a, g) for a, g in pairs]))[:, None]
    assert expected.abs().amax((1, 2, 3)).min() > 1e-3
    signed = "" if name == "gradcam-elementwise" else ",relu=false"
    torch.testing.assert_close(maps_of(f"{name}:layer={layer}{signed}", answers), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(maps_of(f"{name}:layer={layer}", answers), expected.relu(), rtol=0, atol=1e-10)


def test_a_projection_has_the_same_map_whichever_gram_matrix_it_comes_from() -> None:
    maps = torch.rand(2, 40, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for case in (maps, maps.view(2, 3, 10, 16)):  # more channels than places, and the other way round
        expected = np.stack([first_component(single.numpy()) for single in case])
        torch.testing.assert_close(eigencam(case, relu=False)[:, 0], torch.as_tensor(expected), rtol=0, atol=1e-10)


def test_gradients_too_small_for_their_cube_still_count() -> None:
    a = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    g = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 1e-20
    expected = (g.sum((2, 3), keepdim=True) / 2 * a).sum(1, keepdim=True)  # alpha is 1/2 in the limit
    torch.testing.assert_close(gradcam_plus_plus(a, g), expected, rtol=1e-6, atol=0)


def test_kernel_pca_against_its_definition() -> None:
    from sklearn.decomposition import KernelPCA

    net = small_net(3, side=8)
    answers = explain_answers(net, some_images(4, net))
    maps = []
    for a in answers.ask("layer_pass", {}).activations.numpy():
        places = a.reshape(len(a), -1).T
        places = places - places.mean(0)
        maps.append(KernelPCA(1, kernel="sigmoid").fit_transform(places).reshape(a.shape[1:]))
    expected = torch.as_tensor(np.stack(maps))[:, None]
    torch.testing.assert_close(maps_of("kpca-cam:relu=false", answers), expected, rtol=0, atol=1e-10)


def test_hirescam_sums_to_the_logit_above_which_everything_is_linear() -> None:
    net = small_net(1)
    net.network[-1].bias.data.zero_()
    images = some_images(4, net)
    maps = maps_of("hirescam:relu=false", explain_answers(net, images))
    torch.testing.assert_close(maps.sum((1, 2, 3)), net(images).amax(1), rtol=0, atol=1e-12)


def test_all_cams_of_a_layer_together_cost_one_forward() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(6, net))
    below: list[int] = []
    backwards: list[int] = []
    calls = answers.ask("block", {}).calls
    calls.find("auto")
    net.network[0].register_forward_hook(lambda module, inputs, output: below.append(len(output)))
    net.network[-1].register_forward_hook(
        lambda module, inputs, output: output.register_hook(lambda gradient: backwards.append(len(gradient))) and None
    )
    for name in [*EIGHT, "segeigencam", "kpca-cam", "fem"]:
        maps_of(name, answers)
    assert calls.forwards == 6
    assert below == [4, 4] and backwards == [4, 4]  # two batches, one forward and one tail backward each
    assert not net.network[0].weight.requires_grad
    together = [(parse_spec("explain", name).method.load(), {}) for name in EIGHT]
    assert EXPLAIN.planned(together, 36) == 1
