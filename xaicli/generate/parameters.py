"""What an image is made of: its pixels, a scaled spectrum in colours that do not correlate, or phases alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.generate.plan import Task
from xaicli.generate.statistics import Statistics

SPREAD = 0.01  # of the first coefficients (Olah et al., 2017)
SHRINK = 4.0  # of the spectrum's image, so that a step of 0.05 is neither lost nor saturates (the authors' code)


class Pixels:
    """The pixels themselves; their rule keeps them in [0, 1]."""

    def begin(self, task: Task) -> Tensor:
        """The start."""
        return task.start

    def images(self, point: Tensor) -> Tensor:
        """The point."""
        return point


@dataclass(frozen=True)
class Fourier:
    """Coefficients divided by their frequency, in colours that do not correlate in the data (Olah et al., 2017).

    A point [n, C, H, W/2 + 1, 2] holds real and imaginary parts. The spectrum's image, of colours around zero, is mixed
    into the data's colours and squashed into [0, 1] so that nothing is the data's mean colour.
    """

    data: Statistics

    def begin(self, task: Task) -> Tensor:
        """Small normal coefficients, from the start's noise."""
        noise = torch.fft.rfft2(task.start - 0.5, norm="ortho")
        parts = torch.view_as_real(noise)  # each of variance 1/24, that of the uniform noise being 1/12
        return parts * (SPREAD * 24**0.5)

    def images(self, point: Tensor) -> Tensor:
        """[n, C, H, W] in (0, 1)."""
        height, width = self.data.size
        spectrum = torch.view_as_complex(point) * self._scale(point)
        colours = torch.fft.irfft2(spectrum, s=(height, width)) / SHRINK
        largest = self.data.mixing.norm(dim=0).max()
        mixed = _mixed(self.data.mixing / largest, colours)
        mean = self.data.mean.clamp(0.01, 0.99).to(point)
        # a sigmoid, whose last bits torch lets depend on where a value lies in memory
        images: Tensor = 0.5 + 0.5 * ((mixed + mean.logit().view(1, -1, 1, 1)) / 2).tanh()
        return images

    def _scale(self, like: Tensor) -> Tensor:
        """[H, W/2 + 1]: one over the frequency, that of the mean as the lowest, times the root of the area."""
        height, width = self.data.size
        up = torch.fft.fftfreq(height, dtype=torch.float64).unsqueeze(1)
        across = torch.fft.rfftfreq(width, dtype=torch.float64)
        frequency = (up**2 + across**2).sqrt().clamp_min(1 / max(height, width))
        scale: Tensor = (height * width) ** 0.5 / frequency
        return scale.to(like)


@dataclass(frozen=True)
class Phases:
    """Phases alone: every frequency has the data's mean magnitude, in colours that do not correlate (Fel et al., 2023).

    A point is [n, C, H, W/2 + 1]. A real image has opposite phases at opposite frequencies, which the columns 0 and W/2
    hold both; where a frequency is its own opposite, the phase is 0 or pi and stays that of the start.
    """

    data: Statistics

    def begin(self, task: Task) -> Tensor:
        """The phases of the start's noise."""
        phases: Tensor = torch.fft.rfft2(task.start - 0.5).angle()
        return phases

    def images(self, point: Tensor) -> Tensor:
        """[n, C, H, W], clipped to [0, 1]."""
        mixed = _mixed(self.data.mixing, self.colours(point))
        images: Tensor = (mixed + self.data.mean.to(point).view(1, -1, 1, 1)).clamp(0, 1)
        return images

    def colours(self, point: Tensor) -> Tensor:
        """The image in colours that do not correlate, around zero: what has the data's magnitudes."""
        height, width = self.data.size
        opposite = (-torch.arange(height, device=point.device)) % height
        both = torch.zeros(width // 2 + 1, dtype=torch.bool, device=point.device)
        both[0] = True
        both[width // 2] |= width % 2 == 0
        own = (opposite == torch.arange(height, device=point.device)).unsqueeze(1) & both
        phase = torch.where(both, (point - point[:, :, opposite]) / 2, point)
        magnitude = self.data.magnitude.to(point)
        real = torch.where(own, torch.where(point.cos() < 0, -1.0, 1.0), phase.cos())
        imaginary = torch.where(own, 0.0, phase.sin())
        spectrum = torch.complex(magnitude * real, magnitude * imaginary)
        colours: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
        return colours


def _mixed(mixing: Tensor, colours: Tensor) -> Tensor:
    """Each channel as a sum of colours [n, C, H, W], term by term: products of matrices depend on their size."""
    return torch.stack([sum(share * colours[:, c] for c, share in enumerate(row)) for row in mixing.tolist()], 1)
