"""Control maps: what they are, and that they look at nothing else."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import sobel

from tests.nets import explain_answers, maps_of, small_net, some_images
from xaicli.run.random import generator


def test_random_is_uniform_noise_that_belongs_to_the_row() -> None:
    net = small_net()
    images = some_images(3, net)
    maps = maps_of("random", explain_answers(net, images, index=[5, 9, 2], seed=7))
    for row, map in zip([5, 9, 2], maps, strict=True):
        expected = generator(7, "random:#uniform", row).random((1, 6, 6), dtype=np.float32)
        assert np.array_equal(map.numpy(), expected.astype(np.float64))
    other_net = maps_of("random", explain_answers(small_net(5), 1 - images, index=[5, 9, 2], seed=7))
    assert torch.equal(maps, other_net)
    assert not torch.equal(maps, maps_of("random", explain_answers(net, images, index=[5, 9, 2], seed=8)))


def test_edges_are_sobel_magnitudes_of_the_mean_channel() -> None:
    net = small_net()
    images = some_images(4, net)
    grey = images.mean(1).numpy()
    expected = [np.hypot(sobel(g, 0, mode="nearest"), sobel(g, 1, mode="nearest")) / 8 for g in grey]
    maps = maps_of("edges", explain_answers(net, images))[:, 0].numpy()
    assert np.allclose(maps, expected, rtol=0, atol=1e-14)
    assert torch.equal(maps_of("edges", explain_answers(small_net(5), images))[:, 0], torch.as_tensor(maps))


def test_constant_is_one_everywhere_at_the_price_of_the_prediction() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(4, net))
    assert torch.equal(maps_of("constant", answers), torch.ones(4, 1, 6, 6, dtype=torch.float64))
    assert answers.ask("block", {}).calls.forwards == 0  # the stored prediction is all that it needs
