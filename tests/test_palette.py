"""The palette: contrast, and colours that stay apart for everyone, also in grey."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib import colormaps
from scratchnet.cells import CELLS
from scratchnet.plots.style import MAPS, PALETTE

THEMES = ("light", "dark")
QUANTITIES, PAGE = PALETTE["quantities"], PALETTE["page"]

# Linear RGB as a dichromat sees it, severity 1.0.  Machado, Oliveira and Fernandes 2009, A physiologically-based model for
# simulation of color vision deficiency, table 1.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Distances are Euclidean in OKLab (Ottosson 2020), where 0.02 is about what can just be told apart side by side.  Wires
# and words are thin, and not side by side: three times as much.
APART = 0.06


def linear(colour):
    """Linear RGB of "#rrggbb"."""
    v = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    """The WCAG's contrast ratio, 1 to 21."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def oklab(colour, sight="normal"):
    seen = np.clip(np.array(SIGHT[sight]) @ linear(colour), 0, 1)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponents = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return opponents @ np.cbrt(cones @ seen)


def distance(a, b, sight):
    return float(np.linalg.norm(oklab(a, sight) - oklab(b, sight)))


def test_the_measures_are_those_of_their_papers():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the WCAG's example of what just fails
    np.testing.assert_allclose(oklab("#ffffff"), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(oklab("#ff0000"), [0.62796, 0.22486, 0.12585], atol=1e-4)
    for matrix in SIGHT.values():
        np.testing.assert_allclose(np.sum(matrix, axis=1), 1, atol=1e-5)  # grey stays grey
    assert distance("#cc4444", "#777700", "deuteranopia") < 0.5 * distance("#cc4444", "#777700", "normal")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_text_has_a_contrast_of_four_and_a_half_and_a_line_three(theme, ground):
    back = PAGE[ground][theme]
    words = {name: entry[theme] for name, entry in QUANTITIES.items()}
    words |= {name: PAGE[name][theme] for name in ("ink", "quiet", "highlight")}
    for part in ("models", "weights"):  # figures write a curve's name in its colour
        words |= {name: entry[theme] for name, entry in PALETTE[part].items()} if ground == "page" else {}
    assert {name: c for name, c in words.items() if contrast(c, back) < 4.5} == {}
    assert contrast(PAGE["wire"][theme], back) >= 3


@pytest.mark.parametrize("theme", THEMES)
def test_words_on_what_glows_and_on_code_can_be_read(theme):
    for back in ("glow", "code"):
        assert contrast(PAGE["ink"][theme], PAGE[back][theme]) >= 4.5
    assert contrast(PAGE["quiet"][theme], PAGE["code"][theme]) >= 4.5


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("cell", CELLS)
def test_the_quantities_of_a_cell_are_apart(cell, theme, sight):
    names = dict.fromkeys((*CELLS[cell].GATES, *CELLS[cell].STATES, "x", "from_loss", "from_future"))
    drawn = {name: QUANTITIES[name][theme] for name in names} | {"highlight": PAGE["highlight"][theme]}
    close = {(a, b): distance(drawn[a], drawn[b], sight) for a, b in combinations(drawn, 2)}
    assert {pair: round(d, 3) for pair, d in close.items() if d < APART} == {}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", THEMES)
def test_no_end_of_the_signed_map_looks_like_a_source_of_the_gradient(theme, sight):
    stops = PALETTE["maps"]["signed"][theme]
    for end in (stops[0], stops[-1]):
        for source in ("from_loss", "from_future"):
            assert distance(end, QUANTITIES[source][theme], sight) >= 2 * APART  # areas, not lines


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PALETTE["maps"])
def test_maps_go_from_dark_to_bright_in_even_steps(name, theme):
    """In grey, larger is brighter in every map; of the signed one zero is in the middle and has no hue."""
    stops = PALETTE["maps"][name][theme]
    light = np.array([oklab(stop)[0] for stop in stops])
    assert np.all(np.diff(light) > 0.02)
    for sight in SIGHT:
        assert np.all(np.diff([oklab(stop, sight)[0] for stop in stops]) > 0)
    if name == "signed":
        below, zero, above = light[0], light[len(light) // 2], light[-1]
        assert len(stops) % 2 == 1
        assert np.linalg.norm(oklab(stops[len(stops) // 2])[1:]) < 0.005
        assert min(zero - below, above - zero) > 0.25  # the sign can be read in grey


def test_matplotlib_has_the_maps_of_the_palette():
    for name, stops in PALETTE["maps"].items():
        drawn = colormaps[MAPS[name]](np.linspace(0, 1, len(stops["light"])))[:, :3]
        expected = [[int(s[k : k + 2], 16) / 255 for k in (1, 3, 5)] for s in stops["light"]]
        np.testing.assert_allclose(drawn, expected, atol=0.02)


def test_the_page_has_its_surfaces():
    assert set(PAGE) == {"page", "panel", "line", "ink", "quiet", "wire", "highlight", "glow", "code"}
    assert all(set(entry) == set(THEMES) for entry in PAGE.values())
