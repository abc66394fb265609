"""How figures are written and lettered: three formats, the same bytes, nothing from outside, names as they are."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from celljury.report.figure_style import TYPE_COLOURS, canvas, heading, on_colour, save_figure, styled
from celljury.report.figure_text import cut, cut_apart, percent, text_width, wrapped

if TYPE_CHECKING:
    from pathlib import Path


@styled
def picture(label: str = "B cell") -> Any:
    figure, panel = canvas(width=3, height=1.5)
    heading(panel, "A title", ["n = 3 cells"])
    panel.barh([1], [2], hatch="////", facecolor="white", edgecolor="red")
    panel.scatter([1, 2], [1, 1.2], rasterized=True)
    panel.text(0.5, 1.2, label)
    return figure


def test_three_formats_and_nothing_else(tmp_path: Path) -> None:
    paths = save_figure(picture(), tmp_path / "cells.by_donor", title="A title", alt="3 cells")
    assert list(paths) == [".png", ".svg", ".pdf"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"cells.by_donor{suffix}" for suffix in (".pdf", ".png", ".svg")
    ]
    assert imread(paths[".png"]).shape[:2] == (300, 600)
    assert paths[".pdf"].read_bytes().startswith(b"%PDF")


def test_same_figure_gives_same_bytes(tmp_path: Path) -> None:
    first, second = (save_figure(picture(), tmp_path / name, title="A title", alt="3 cells") for name in ("one", "two"))
    for suffix, path in first.items():
        assert path.read_bytes() == second[suffix].read_bytes(), suffix


def test_svg_names_nothing_outside_itself_and_says_what_it_shows(tmp_path: Path) -> None:
    paths = save_figure(picture("a < b & c"), tmp_path / "x", title="Cells < 5 & more", alt="Main numbers: 3")
    text = paths[".svg"].read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "<!DOCTYPE" not in text
    assert "<metadata>" not in text
    assert 'role="img"><title>Cells &lt; 5 &amp; more</title><desc>Main numbers: 3</desc>' in text
    # What is left of addresses are the names of the two namespaces.
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert all(ref.startswith(("#", "data:")) for ref in re.findall(r"href=\"([^\"]*)\"", text))
    assert all(ref.startswith("#") for ref in re.findall(r"url\(([^)]*)\)", text))


def test_letters_are_drawn_whatever_the_name_and_the_users_settings(tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 30, "text.parse_math": True, "savefig.facecolor": "black", "figure.dpi": 20}):
        odd = save_figure(picture("$\\frac{1}$ _x 漢"), tmp_path / "odd")
        plain = save_figure(picture(), tmp_path / "set")
    same = save_figure(picture(), tmp_path / "unset")
    assert odd[".png"].stat().st_size > 1000
    assert plain[".png"].read_bytes() == same[".png"].read_bytes()


# Lettering ------------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", TYPE_COLOURS)
def test_letters_on_a_type_can_be_read(colour: str) -> None:
    assert contrast(on_colour(colour), colour) >= 4.5


def test_neighbours_in_a_stack_stay_apart_in_a_grey_print() -> None:
    lightness = [116 * np.cbrt(luminance(colour)) - 16 for colour in TYPE_COLOURS]  # CIE L*
    assert min(abs(a - b) for a, b in pairwise(lightness)) > 25


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), st.floats(0.2, 3))
def test_cut_fits_and_keeps_both_ends(text: str, width: float) -> None:
    short = cut(text, 7, width)
    assert text_width(short, 7) <= width or short == "…"
    if short != text and len(short) > 3:
        first, last = short.split("…", 1) if "…" not in text else ("", "")
        assert text.startswith(first)
        assert text.endswith(last)


def test_width_of_a_text_is_what_is_drawn() -> None:
    from matplotlib.textpath import TextPath

    text = "CD4-positive, alpha-beta T cell"
    drawn = TextPath((0, 0), text, size=8, prop="DejaVu Sans").get_extents().width / 72
    assert text_width(text, 8) == pytest.approx(drawn, rel=0.03)


def test_names_that_differ_in_the_middle_are_not_cut_there() -> None:
    names = [f"sample_{i:03d}_normal" for i in range(30)]
    assert len(set(cut_apart(names, 6, 0.75))) == 30
    same_start = [f"a very long name of a study that all share {i}" for i in range(12)]
    assert len(set(cut_apart(same_start, 6, 0.6))) == 12


def test_wrapped_lines_fit_and_lose_no_word() -> None:
    text = "From the votes of six members to the call, at the level of cell subclasses"
    lines = wrapped(text, 9, 2.0)
    assert " ".join(lines) == text
    assert all(text_width(line, 9) <= 2.0 for line in lines)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(0.0, "0.0 %", id="nothing"),
        pytest.param(0.0001, "<0.1 %", id="little_is_not_nothing"),
        pytest.param(0.0123, "1.2 %", id="decimal_below_ten"),
        pytest.param(0.255, "26 %", id="whole_above"),
        pytest.param(1.0, "100 %", id="all"),
    ],
)
def test_percent(value: float, said: str) -> None:
    assert percent(value) == said
