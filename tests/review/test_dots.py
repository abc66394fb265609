"""The dot plot: sizes and shades that say what they should, what was not measured, and the same as a table."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from celljury.review.dots import LARGEST, SMALLEST, DotRow, dots_table, marker_dots
from celljury.review.lettering import text_width

if TYPE_CHECKING:
    from celljury.markup import Html

NAN = math.nan
GENES = ("CD3D", "CD8A", "NKG7")
ROWS = (
    DotRow("this item", [1.0, 0.25, NAN], [3.0, 1.5, NAN], "item"),
    DotRow("natural killer cell", [0.0, 0.5, 0.9], [0.0, 0.75, 2.0], "reference"),
)


def dots_of(svg: Html) -> dict[str, ElementTree.Element]:
    """The mark of each gene and row by its title."""
    root = ElementTree.fromstring(svg)
    return {group[0].text or "": group[1] for group in root.iter("g")}


def test_area_is_the_share_and_shade_the_mean() -> None:
    found = dots_of(marker_dots(ROWS, GENES))
    assert set(found) == {
        "CD3D in this item: 100 % of cells, mean 3.00",
        "CD8A in this item: 25 % of cells, mean 1.50",
        "NKG7 in this item: not measured",
        "CD3D in natural killer cell: 0 % of cells, mean 0.00",
        "CD8A in natural killer cell: 50 % of cells, mean 0.75",
        "NKG7 in natural killer cell: 90 % of cells, mean 2.00",
    }
    radius = {said.split(":")[0]: float(dot.attrib["r"]) for said, dot in found.items() if dot.tag == "circle"}
    assert radius["CD3D in this item"] == LARGEST
    assert radius["CD8A in this item"] == pytest.approx(LARGEST / 2, abs=0.06)
    assert radius["CD3D in natural killer cell"] == SMALLEST
    shade = {
        said.split(":")[0]: float(dot.attrib["fill-opacity"]) for said, dot in found.items() if dot.tag == "circle"
    }
    assert shade["CD3D in this item"] == 1.0
    assert shade["CD3D in natural killer cell"] < shade["CD8A in natural killer cell"] < shade["CD8A in this item"]
    assert found["NKG7 in this item: not measured"].tag == "path"


@pytest.mark.parametrize("width", [300, 410])
@pytest.mark.parametrize("n", [0, 1, 2, 9, 20, 60])
@pytest.mark.parametrize("name", ["CD3D", "ENSG00000198851", "HLA-DRB1 " * 5])
def test_all_is_inside_and_dots_do_not_touch(n: int, name: str, width: float) -> None:
    rng = np.random.default_rng(0)
    genes = [f"{name}{i}" for i in range(n)]
    rows = [DotRow(row, np.ones(n), rng.random(n), "item") for row in ("this item", "T" * 90)]
    root = ElementTree.fromstring(marker_dots(rows, genes, width=width))
    _, _, wide, high = map(float, root.attrib["viewBox"].split())
    assert float(root.attrib["width"]) == width
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"]), float(c.attrib["r"])) for c in root.iter("circle")]
    for x, y, r in circles:
        assert 0 <= x - r and x + r <= wide and 0 <= y - r and y + r <= high
    for one, two in combinations(circles, 2):
        assert math.dist(one[:2], two[:2]) >= one[2] + two[2] - 0.2
    names = [text for text in root.iter("text") if text.attrib.get("class") == "gene"]
    assert len(names) == n
    steps = []
    for text in names:
        said = (text.text or "") + "".join(child.tail or "" for child in text)
        angle = math.radians(-float(text.attrib["transform"].split("(")[1].split()[0]))
        x, y, long = float(text.attrib["x"]), float(text.attrib["y"]), text_width(said, 10.5)
        assert x + long * math.cos(angle) <= wide + 0.2
        assert y - long * math.sin(angle) >= -0.2
        steps.append((x, angle))
    for (x, angle), (after, _) in pairwise(steps):
        assert (after - x) * math.sin(angle) >= 10.5  # one line of text
    for text in root.iter("text"):
        if text.attrib.get("class") != "gene":
            said = (text.text or "") + "".join(child.tail or "" for child in text)
            assert float(text.attrib["x"]) + text_width(said, float(text.attrib["font-size"])) <= wide + 0.2


def test_what_was_not_measured_is_in_the_legend_only_where_there_is_such() -> None:
    assert "not measured" in marker_dots(ROWS, GENES).split("</desc>")[1].rsplit("</g>", 1)[1]
    whole = [DotRow("this item", [0.5], [1.0], "item")]
    assert "not measured" not in marker_dots(whole, ["CD3D"])


def test_the_same_in_words_and_as_a_table() -> None:
    root = ElementTree.fromstring(marker_dots(ROWS, GENES, name="dots"))
    assert root.attrib["role"] == "img"
    named = {element.attrib.get("id"): element.text for element in root}
    assert [root.attrib[f"aria-{by}"] for by in ("labelledby", "describedby")] == ["dots-title", "dots-desc"]
    assert "this item: CD3D 100 % of cells, mean 3.00; CD8A 25 % of cells, mean 1.50; NKG7 not measured." in (
        named["dots-desc"] or ""
    )
    table = ElementTree.fromstring(dots_table(ROWS, GENES))
    rows = [[cell.text for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["gene", "this item", "natural killer cell"]
    assert rows[3] == ["NKG7", "not measured", "90 % of cells, mean 2.00"]
    assert [cell.attrib["scope"] for cell in table.iter("th")] == ["col"] * 3 + ["row"] * 3


def test_names_are_never_markup() -> None:
    bad = '<script>alert("1")</script>'
    rows = [DotRow(bad, [0.5], [1.0], "item")]
    for made in (marker_dots(rows, [bad]), dots_table(rows, [bad])):
        assert "<script" not in made
        assert bad in "".join(ElementTree.fromstring(made).itertext())
        assert "style=" not in made
