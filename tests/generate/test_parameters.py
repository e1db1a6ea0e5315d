"""Spectra and phases against numpy and closed forms; their gradients by differences; the data's statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from tests.generate.making import made, task_of
from tests.nets import small_net, some_images
from xaicli.generate.objectives import ClassScore
from xaicli.generate.parameters import SHRINK, SPREAD, Fourier, Phases
from xaicli.generate.plan import Plan
from xaicli.generate.rules import Adam
from xaicli.generate.statistics import measure
from xaicli.generate.transforms import Transforms

SIZES = [(6, 6), (5, 7), (6, 5), (7, 8)]


def coloured(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth images whose channels correlate."""
    draws = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    common = draws.mean(1, keepdim=True).cumsum(2) / height
    return 0.6 * common + 0.4 * draws


def data_of(channels: int, height: int, width: int):
    images = coloured(20, channels, height, width)
    return measure(lambda: iter(images.split(7))), images.numpy()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_images(channels: int, height: int, width: int) -> None:
    found, images = data_of(channels, height, width)
    pixels = images.transpose(1, 0, 2, 3).reshape(channels, -1)
    assert found.mean.numpy() == pytest.approx(pixels.mean(1))
    covariance = np.atleast_2d(np.cov(pixels, bias=True))
    assert (found.mixing @ found.mixing.T).numpy() == pytest.approx(covariance, abs=1e-12)
    plain = np.linalg.solve(found.mixing.numpy(), pixels - pixels.mean(1, keepdims=True))
    assert np.atleast_2d(np.cov(plain, bias=True)) == pytest.approx(np.eye(channels), abs=1e-9)
    plain = plain.reshape(channels, 20, height, width)
    magnitude = np.abs(np.fft.fft2(plain)).mean(1)[:, :, : width // 2 + 1]
    assert found.magnitude.numpy() == pytest.approx(magnitude)


def test_images_without_colour_have_statistics_too() -> None:
    grey = coloured(9, 1, 6, 6).repeat(1, 3, 1, 1)
    found = measure(lambda: iter([grey]))
    assert found.magnitude.isfinite().all()
    assert found.mixing[:, -1].numpy() == pytest.approx(np.full(3, float(grey.std(correction=0))))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("parameters", [Fourier, Phases])
def test_gradients_are_those_of_differences(parameters, height: int, width: int) -> None:
    data, _ = data_of(3, height, width)
    made_of = parameters(data)
    start = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    point = made_of.begin(task_of(start)) * (30 if parameters is Fourier else 1)
    assert gradcheck(made_of.images, point.requires_grad_(), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_spectrum_is_divided_by_its_frequency_and_mixed_into_the_datas_colours(height: int, width: int) -> None:
    data, images = data_of(3, height, width)
    start = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    point = Fourier(data).begin(task_of(start))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    noise = np.fft.rfft2(start.numpy() - 0.5) / np.sqrt(height * width) * SPREAD * np.sqrt(24)
    noise = noise * np.sqrt(height * width) / np.maximum(frequency, 1 / max(height, width))
    plain = np.fft.irfft2(noise, s=(height, width)) / SHRINK
    mixing = data.mixing.numpy() / np.linalg.norm(data.mixing.numpy(), axis=0).max()
    mean = images.mean((0, 2, 3))
    raw = np.einsum("dc,nchw->ndhw", mixing, plain) + np.log(mean / (1 - mean))[:, None, None]
    assert Fourier(data).images(point).numpy() == pytest.approx(1 / (1 + np.exp(-raw)))
    nothing = Fourier(data).images(torch.zeros_like(point))
    assert nothing.numpy() == pytest.approx(np.broadcast_to(mean[:, None, None], (2, 3, height, width)))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_magnitudes_are_the_datas_mean_whatever_the_phases(height: int, width: int, dtype: torch.dtype) -> None:
    data, images = data_of(3, height, width)
    mean, mixing = images.mean((0, 2, 3)), data.mixing.numpy()
    plain = np.linalg.solve(mixing, (images - mean[:, None, None]).transpose(1, 0, 2, 3).reshape(3, -1))
    exact = np.abs(np.fft.fft2(plain.reshape(3, -1, height, width))).mean(1)
    start = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=dtype)
    begun = Phases(data).begin(task_of(start))
    for point in (begun, begun + torch.randn(begun.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)):
        colours = Phases(data).colours(point).numpy()
        assert np.abs(np.fft.fft2(colours)) == pytest.approx(np.broadcast_to(exact, (4, *exact.shape)), rel=1e-5)
    phases = np.angle(np.fft.rfft2(start.numpy() - 0.5))
    wave = np.fft.irfft2(exact[:, :, : width // 2 + 1] * np.exp(1j * phases), s=(height, width))
    assert Phases(data).colours(begun).numpy() == pytest.approx(wave, abs=1e-5)
    image = np.clip(np.einsum("dc,nchw->ndhw", mixing, wave) + mean[:, None, None], 0, 1)
    assert Phases(data).images(begun).numpy() == pytest.approx(image, abs=1e-5)


def test_magnitudes_stay_on_a_walk() -> None:
    net = small_net(channels=3)
    data, _ = data_of(3, 6, 6)
    start = some_images(4, net)
    plan = Plan(12, Phases(data), ClassScore(), Adam(0.3), levels=False)
    task = task_of(start, torch.tensor([0, 1, 2, 0]))
    done = made(plan, net, start, task.target)
    assert (done.score > -done.loss[:, 0]).all()
    whole = made(plan, net, start[[2]], task.target[[2]], batch_size=1)
    torch.testing.assert_close(whole.images[0], done.images[2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("parameters", [Fourier, Phases])
def test_neighbours_do_not_change_a_bit(parameters) -> None:
    net = small_net(channels=3, dtype=torch.float32)
    data, _ = data_of(3, 6, 6)
    start, target = some_images(7, net), torch.arange(7) % 3
    draws = torch.rand(7, 6, 4, generator=torch.Generator().manual_seed(4))
    plan = Plan(6, parameters(data), ClassScore(), Adam(0.1), vary=Transforms())
    whole = made(plan, net, start, target, batch_size=4, draws=draws)
    rows = [5, 0, 3]
    part = made(plan, net, start[rows], target[rows], batch_size=4, draws=draws[rows])
    for name in ("images", "logits", "score", "loss"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[rows])


def numbers(**given: float) -> torch.Tensor:
    """Uniform numbers [1, 4] that mean these signed ones; 0 otherwise."""
    signed = [given.get(name, 0.0) for name in ("across", "down", "size", "turn")]
    return (torch.tensor([signed], dtype=torch.float64) + 1) / 2


def test_transforms_move_scale_and_turn() -> None:
    image = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same = Transforms()(image, numbers())
    torch.testing.assert_close(same, image)
    moved = Transforms(jitter=0.25)(image, numbers(across=1.0, down=-0.5))  # two pixels to the left, one down
    torch.testing.assert_close(moved[:, :, 1:, :6], image[:, :, :7, 2:])
    turned = Transforms(degrees=90)(image, numbers(turn=1.0))
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)))
    ramp = torch.linspace(-3.5, 3.5, 8, dtype=torch.float64).expand(1, 1, 8, 8)
    small = Transforms(scale=2.0)(ramp, numbers(size=-1.0))  # coordinates halved: twice as large
    torch.testing.assert_close(small, ramp / 2)


def test_a_turn_of_an_oblong_image_keeps_angles() -> None:
    rows, columns = torch.meshgrid(torch.arange(-4, 5).double(), torch.arange(-10, 11).double(), indexing="ij")
    image = (0.5 * rows)[None, None]
    turned = Transforms(degrees=30)(image, numbers(turn=1.0))
    # a plane stays a plane, of the same slope, turned: rows are read off sin across and cos down
    inside = turned[0, 0, 2:7, 7:14]
    exact = (0.5 * (0.5 * columns + 3**0.5 / 2 * rows))[2:7, 7:14]
    torch.testing.assert_close(inside, exact, rtol=0, atol=1e-9)
