"""Finer-CAM and Shapley-CAM against autograd and finite differences by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.models.classifier import Classifier


def close(actual: Tensor, expected: Tensor, within: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def test_finercam_is_gradcam_of_the_class_against_its_nearest() -> None:
    net = small_net(2, side=8, classes=6)
    images = some_images(5, net)
    logits = net(images)
    for text, alpha, count in (("finercam", 1.0, 3), ("finercam:alpha=0.5,classes=2", 0.5, 2)):
        for target in ("predicted", "2"):
            below, above = net.network[:5], net.network[5:]
            a = below(images).requires_grad_()
            z = above(a)
            total = torch.zeros((), dtype=torch.float64)
            for n in range(5):
                own = int(logits[n].argmax()) if target == "predicted" else 2
                distances = {k: abs(float(logits[n, k] - logits[n, own])) for k in range(6) if k != own}
                near = sorted(distances, key=distances.__getitem__)[:count]
                p = z[n].softmax(0)
                total = total + sum(p[k] * (z[n, own] - alpha * z[n, k]) for k in near) / sum(p[k] for k in near)
            (g,) = torch.autograd.grad(total, a)
            expected = (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True).detach()
            answers = explain_answers(net, images, target=target)
            close(maps_of(f"{text}{',' if ':' in text else ':'}relu=false", answers), expected)


def test_finercam_with_two_classes_explains_their_difference() -> None:
    net = small_net(2, side=8, classes=2)
    images = some_images(5, net)
    contrast = explain_answers(net, images, target="class1,class0")
    close(maps_of("finercam", explain_answers(net, images, target="1")), maps_of("gradcam", contrast))


def smooth() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = nn.Sequential(nn.Softplus(), nn.Flatten(), nn.Linear(48, 3))
        return classify(nn.Sequential(nn.Conv2d(2, 3, 3), *head), (2, 6, 6), 3)


def test_shapleycam_subtracts_half_the_hessian_times_the_activations() -> None:
    net = smooth()
    images = some_images(3, net)
    a = net.network[0](images)
    top = net(images).argmax(1, keepdim=True)

    def gradient(at: Tensor, rest: bool) -> Tensor:
        at = at.detach().requires_grad_()
        z = net.network[1:](at)
        value = z + z.log_softmax(1) if rest else z
        return torch.autograd.grad(value.gather(1, top).sum(), at)[0]

    for rest in (False, True):
        h = 1e-5
        curvature = (gradient(a * (1 + h), rest) - gradient(a * (1 - h), rest)) / (2 * h)
        weights = (gradient(a, rest) - 0.5 * curvature).mean((2, 3), keepdim=True)
        small = (weights * a).sum(1, keepdim=True)
        expected = nn.functional.interpolate(small, size=(6, 6), mode="bilinear", align_corners=False)
        text = f"shapleycam:layer=0,relu=false,rest={str(rest).lower()}"
        close(maps_of(text, explain_answers(net, images)), expected, 1e-8)
        assert curvature.abs().max() > 1e-2


def test_above_a_linear_tail_shapleycam_of_the_logit_is_gradcam() -> None:
    net = small_net(2, side=8)
    answers = explain_answers(net, some_images(4, net))
    assert torch.equal(maps_of("shapleycam:rest=false", answers), maps_of("gradcam", answers))
    assert not torch.equal(maps_of("shapleycam", answers), maps_of("gradcam", answers))
