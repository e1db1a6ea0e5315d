"""How maps become colours."""

from __future__ import annotations

import numpy as np

from xaicli.report.colours import draw_map


def test_signed_maps_are_red_for_and_blue_against() -> None:
    attribution = np.zeros((1, 4, 4))
    attribution[0, 0, 0], attribution[0, 3, 3] = 1.0, -1.0
    colours = draw_map(attribution, np.zeros((4, 4, 3), dtype=np.uint8))
    red, blue, nothing = colours[0, 0], colours[3, 3], colours[1, 1]
    assert red[0] > 0.35 and red[1:].max() < 0.15
    assert blue[2] > 0.35 and blue[0] < 0.05
    assert nothing.min() > 0.95


def test_positive_maps_glow_over_the_grey_image() -> None:
    image = np.full((4, 4, 3), 200, dtype=np.uint8)
    attribution = np.zeros((3, 4, 4))
    attribution[:, 2, 2] = 1 / 3
    colours = draw_map(attribution, image)
    np.testing.assert_allclose(colours[0, 0], [0.75 * 200 / 255] * 3)
    bright = colours[2, 2]
    assert bright[0] > bright[2] + 0.2


def test_a_map_of_zeros_is_the_dimmed_image() -> None:
    image = np.full((2, 2, 3), 100, dtype=np.uint8)
    np.testing.assert_allclose(draw_map(np.zeros((1, 2, 2)), image), 0.75 * 100 / 255)


def test_what_is_the_same_everywhere_does_not_glow() -> None:
    image = np.full((4, 4, 3), 100, dtype=np.uint8)
    attribution = np.zeros((1, 4, 4))
    attribution[0, 1, 1] = 0.25
    np.testing.assert_allclose(draw_map(attribution + 7, image), draw_map(attribution, image))
    np.testing.assert_allclose(draw_map(np.full((1, 4, 4), 7.0), image), 0.75 * 100 / 255)
