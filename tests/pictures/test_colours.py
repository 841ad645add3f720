"""What the colours must keep apart, also for colour-blind eyes.

Colour vision deficiency is simulated in linear RGB (Machado, Oliveira, Fernandes 2009, severity
1.0); differences are Euclidean in CIE Lab, computed here and not by the package.
"""

import numpy as np
import pytest

from nni_widgets.pictures.colours import LEVELS, SIGNED, UNSIGNED

MACHADO = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}
RGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
QUANTISATION = 0.8


def lab(colours, eyes="normal"):
    """CIE Lab (D65) of sRGB bytes as these eyes see them."""
    rgb = colours / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ MACHADO[eyes].T, 0, 1)
    xyz = seen @ RGB_TO_XYZ.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_lab_of_white_and_red_is_the_known_one():
    known = [[100, 0, 0], [53.2, 80.1, 67.2]]
    assert lab(np.array([[255, 255, 255], [255, 0, 0]])) == pytest.approx(np.array(known), abs=0.2)


@pytest.mark.parametrize("eyes", MACHADO)
def test_for_and_against_are_told_apart_the_better_the_stronger(eyes):
    seen = lab(SIGNED, eyes)
    difference = np.linalg.norm(seen - seen[::-1], axis=1)[LEVELS // 2 :]
    assert difference[0] == 0
    assert difference[len(difference) // 4] > 20
    assert difference[-1] > 80
    assert np.diff(difference).min() > -QUANTISATION


@pytest.mark.parametrize("eyes", MACHADO)
@pytest.mark.parametrize(
    "away_from_zero", [SIGNED[LEVELS // 2 :], SIGNED[LEVELS // 2 :: -1], UNSIGNED]
)
def test_stronger_is_darker(away_from_zero, eyes):
    lightness = lab(away_from_zero, eyes)[:, 0]
    assert lightness[0] > 95
    assert np.diff(lightness).max() < QUANTISATION
    assert lightness[0] - lightness[-1] > 45


def test_the_middle_is_white_and_the_ends_are_purple_and_orange():
    against, middle, favour = SIGNED[0], SIGNED[LEVELS // 2], SIGNED[-1]
    assert middle.tolist() == [247, 247, 247]
    assert against[2] > against[0] > against[1]
    assert favour[0] > favour[1] > favour[2]


def test_every_level_of_the_signed_palette_has_a_colour_of_its_own():
    assert SIGNED.shape == UNSIGNED.shape == (LEVELS, 3)
    assert len(np.unique(SIGNED, axis=0)) == LEVELS
    assert len(np.unique(UNSIGNED, axis=0)) > 0.9 * LEVELS
