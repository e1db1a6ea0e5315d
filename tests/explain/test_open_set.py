"""The open-set map: where a refused image holds no evidence for any class, against Grad-CAM class by class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tests.nets import BACKGROUND, attentive_net, explain_answers, judge_of, maps_of, small_net, some_images
from xaicli.explain.open_set import ClassCams, Judged, open_set
from xaicli.models.classifier import Classifier

NET = small_net(side=12)
IMAGES = some_images(8, NET)
LAYER = "3"  # signed values: classes without any positive evidence occur


def cams_of(net: Classifier, images: Tensor, **options: object) -> Tensor:
    cams: Tensor = explain_answers(net, images).ask("class_cams", options).cams
    return cams


@pytest.mark.parametrize(("net", "side"), [(NET, 12), (attentive_net(), 4)])
def test_all_class_cams_are_the_grad_cams_of_each_class(net: Classifier, side: int) -> None:
    images = some_images(5, net)
    found = cams_of(net, images)
    assert found.shape == (5, 3, side, side)
    for number in range(3):
        alone = maps_of("gradcam", explain_answers(net, images, target=str(number)))
        whole = interpolate(found[:, [number]], size=(12, 12), mode="bilinear", align_corners=False)
        assert torch.allclose(whole, alone, rtol=1e-12, atol=1e-14)


def test_numbers_by_hand() -> None:
    """Two places, two classes, scale 4: refused, refused without evidence, known, refused with more than full."""
    cams = torch.tensor(
        [[[[1.0, 3.0]], [[2.0, 0.0]]], [[[0.0, 0.0]]] * 2, [[[5.0, 0.0]], [[9.0, 9.0]]], [[[8.0, 4.0]]] * 2]
    )
    target = torch.tensor([0, 0, 0, 0])
    found = ClassCams(cams.new_zeros(4, 2), target, target, cams.new_zeros(4), cams)
    refused = torch.tensor([True, True, False, True])
    scale = torch.full((4, 1, 1, 1), 4.0)
    maps = open_set(Judged(torch.zeros(4), refused), found, scale)
    assert maps[:, 0, 0].tolist() == [[0.5, 0.25], [1, 1], [5, 0], [0, 0]]
    nothing = open_set(Judged(torch.zeros(4), refused), found, torch.zeros(4, 1, 1, 1))
    assert nothing[:, 0, 0].tolist() == [[0, 0], [1, 1], [5, 0], [0, 0]]


def test_refused_rows_by_brute_force_and_known_ones_as_grad_cam() -> None:
    answers = explain_answers(NET, IMAGES)
    found = maps_of(f"open-set:layer={LAYER}", answers)
    held_out = some_images(BACKGROUND, NET, seed=99)
    most = [cams_of(NET, image[None], layer=LAYER).max().item() for image in held_out]
    scale = np.percentile(most, 95)
    classes = [maps_of(f"gradcam:layer={LAYER}", explain_answers(NET, IMAGES, target=str(c))) for c in range(3)]
    judged, predicted = answers.ask("judged", {}), NET(IMAGES).argmax(1)
    threshold = judge_of(NET).rejector.threshold
    assert judged.refused.tolist() == (NET(IMAGES).amax(1) < threshold).tolist()
    assert 0 < judged.refused.sum() < 8 and torch.equal(judged.scores, NET(IMAGES).amax(1))
    for row in range(8):  # the layer's map is as large as the image, so nothing is upsampled
        evidence = torch.stack([maps[row] for maps in classes]).amax(0)
        expected = (1 - evidence / scale).clamp(0, 1) if judged.refused[row] else classes[predicted[row]][row]
        assert torch.allclose(found[row], expected, rtol=1e-12, atol=1e-14)


def test_the_rows_own_scale() -> None:
    answers = explain_answers(NET, IMAGES)
    found, cams = maps_of("open-set:scale=image", answers), cams_of(NET, IMAGES)
    refused = answers.ask("judged", {}).refused
    expected = 1 - cams.amax(1) / cams.amax((1, 2, 3)).view(-1, 1, 1)
    assert torch.allclose(found[refused, 0], expected[refused], atol=1e-14)
    assert (found[refused].amin((1, 2, 3)) == 0).all()  # where there is most evidence, nothing is unknown


def test_held_out_rows_are_asked_once_a_run() -> None:
    answers = explain_answers(NET, IMAGES)
    block = answers.ask("block", {})
    first = maps_of("open-set", answers)
    known = dict(block.background.once._found)
    again = answers.anew({"block": block})
    assert torch.equal(maps_of("open-set", again), first)
    assert block.background.once._found.keys() == known.keys() and ("evidence", "auto", "logit") in known
    assert block.calls.forwards == 2 * 8  # of the rows themselves; the detector has a count of its own


def test_a_refusal_does_not_depend_on_the_class_that_is_explained() -> None:
    refused = explain_answers(NET, IMAGES).ask("judged", {}).refused
    one, other = (maps_of("open-set", explain_answers(NET, IMAGES, target=text)) for text in ("0", "2"))
    assert torch.equal(one[refused], other[refused]) and not torch.equal(one[~refused], other[~refused])
