"""The drawing of an item: nothing on another, nothing outside, every vote in it, and the same in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.review.drawing import ontology_drawing
from celljury.review.layers import edges_among, layered, levels_between
from celljury.review.lettering import shortened, text_width, wrapped
from celljury.review.standing import MOST_NODES, Standing, drawn_terms

if TYPE_CHECKING:
    from celljury.markup import Html
    from celljury.ontology.graph import CellOntology

TREG, MEMORY4, NAIVE8, CYTOTOXIC8 = "CL:0000792", "CL:0000897", "CL:0000900", "CL:0000794"
NK, B, DENDRITIC, HEPATOCYTE = "CL:0000623", "CL:0000236", "CL:0000451", "CL:0000182"
LYMPHOCYTE, MATURE, T, MEMORY, CD4 = "CL:0000542", "CL:0000791", "CL:0000084", "CL:0000813", "CL:0000624"
MEMBERS = ("logistic", "celltypist", "symphony", "singler", "scvi_knn", "scanvi", "azimuth", "m" * 40, "細胞型", "x")
NAN = float("nan")


@pytest.fixture(scope="module")
def cl() -> CellOntology:
    return load_ontology(release="2026-03-26", cache=False)


CL = load_ontology(release="2026-03-26", cache=False)


def drawn(ontology: CellOntology, votes: dict[str, str], **options: Any) -> Html:
    """Draw votes given as ids; camps, call and top term too."""

    def index(term: str) -> int:
        return ontology.index(term) if term else -1

    options = {"term": "", "status": "backed_off", "top_term": "", "shares": {}, "support": NAN, **options}
    candidates = [index(term) for term in options.pop("candidates", [])]
    for name in ("term", "top_term"):
        options[name] = index(options[name])
    found = {name: index(term) for name, term in votes.items()}
    n_votes = sum(term >= 0 for term in found.values())
    return ontology_drawing(ontology, candidates=candidates, votes=found, n_votes=n_votes, **options)


def by(*terms: str) -> dict[str, str]:
    return dict(zip(MEMBERS, terms, strict=False))


# Votes as the demo has them, and further ones.
ITEMS = [
    pytest.param(
        by(CYTOTOXIC8, NK, NK, CYTOTOXIC8, NK, CYTOTOXIC8),
        {"term": LYMPHOCYTE, "candidates": [CYTOTOXIC8, NK], "top_term": CYTOTOXIC8, "support": 0.99, "threshold": 0.87},
        id="two_camps",
    ),
    pytest.param(
        by(NAIVE8, NAIVE8, TREG, MEMORY4, CYTOTOXIC8, CYTOTOXIC8),
        {"term": LYMPHOCYTE, "candidates": [CYTOTOXIC8, NAIVE8], "top_term": CYTOTOXIC8, "support": 0.98},
        id="four_terms_in_one_layer",
    ),
    pytest.param(
        by(NAIVE8, DENDRITIC, NAIVE8, MEMORY4, TREG, TREG),
        {"term": LYMPHOCYTE, "candidates": [NAIVE8, TREG], "top_term": NAIVE8, "support": 0.88},
        id="a_vote_beside_the_call",
    ),
    pytest.param(by(TREG, CD4, T, MEMORY), {"term": T, "candidates": [CD4, MEMORY]}, id="votes_above_votes"),
    pytest.param({"a": ""}, {"status": "unresolved"}, id="nothing_at_all"),
    pytest.param(by(*[NK] * 10), {"term": NK, "candidates": [NK], "status": "resolved", "support": 1.0}, id="ten_members_agree"),
    pytest.param(
        {name: (TREG, MEMORY4, NAIVE8, NK, B, DENDRITIC)[i % 6] for i, name in enumerate(MEMBERS)},
        {"term": "CL:0000738", "candidates": [NAIVE8, B], "shares": dict.fromkeys(MEMBERS, 0.1)},
        id="six_terms_ten_members",
    ),
    pytest.param(by(NK), {"term": NK, "status": "resolved", "candidates": [NK]}, id="one_vote"),
    pytest.param(by(B, HEPATOCYTE), {"status": "unresolved", "candidates": [B, HEPATOCYTE]}, id="no_call"),
    pytest.param(by(B, B, TREG), {"term": "CL:0000945", "status": "unseen", "candidates": [B]}, id="unseen_under_a_node"),
    pytest.param({"a": "", "b": ""}, {"status": "unseen"}, id="unseen_without_a_node_or_vote"),
    pytest.param(by(CYTOTOXIC8, NK), {"term": LYMPHOCYTE, "candidates": [CYTOTOXIC8, NK], "width": 320}, id="narrow"),
]  # fmt: skip


# Reading a drawing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    kind: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0.11 and down > 0.11  # coordinates are rounded to tenths

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left + 0.11 and self.top <= other.top + 0.11
            and self.right >= other.right - 0.11 and self.bottom >= other.bottom - 0.11
        )  # fmt: skip


@dataclass(frozen=True)
class Read:
    """What stands where in a drawing."""

    whole: Box
    rects: tuple[Box, ...]
    texts: tuple[Box, ...]
    words: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    root: ElementTree.Element

    @classmethod
    def of(cls, svg: Html) -> Read:
        root = ElementTree.fromstring(svg)
        x, y, width, height = map(float, root.attrib["viewBox"].split())
        rects, texts, words = [], [], []
        for rect in root.iter("rect"):
            at = {name: float(rect.attrib[name]) for name in ("x", "y", "width", "height")}
            rects.append(Box(rect.attrib["class"], at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"]))
        for text in root.iter("text"):
            said = (text.text or "") + "".join(child.tail or "" for child in text)
            size = float(text.attrib["font-size"])
            long = text_width(said, size, bold=float(text.attrib.get("font-weight", 400)) >= 600)
            left = (
                float(text.attrib["x"])
                - {"middle": 0.5, "end": 1.0}.get(text.attrib.get("text-anchor", ""), 0.0) * long
            )
            baseline = float(text.attrib["y"])
            texts.append(Box("text", left, baseline - 0.75 * size, left + long, baseline + 0.22 * size))
            words.append(said)
        edges = tuple(points_of(path.attrib["d"]) for path in root.iter("path"))
        return cls(Box("all", x, y, x + width, y + height), tuple(rects), tuple(texts), tuple(words), edges, root)

    def of_kind(self, *kinds: str) -> list[Box]:
        return [rect for rect in self.rects if rect.kind in kinds]


def points_of(path: str) -> np.ndarray:
    """Points along a path of M, V and C, as drawn, (n, 2)."""
    points = [np.zeros(2)]
    for command, numbers in re.findall(r"([MVC])([^MVC]*)", path):
        values = np.array([float(n) for n in numbers.split()])
        start, steps = points[-1], np.linspace(0, 1, 20)[:, None]
        if command == "M":
            points = [values]
        elif command == "V":
            points += list(start + steps * (np.array([start[0], values[0]]) - start))
        else:
            a, b, c = values.reshape(3, 2)
            points += list(
                (1 - steps) ** 3 * start
                + 3 * (1 - steps) ** 2 * steps * a
                + 3 * (1 - steps) * steps**2 * b
                + steps**3 * c
            )
    return np.array(points)


def check_room(svg: Html) -> Read:
    """Nothing lies on another, nothing outside; returns what was read."""
    found = Read.of(svg)
    nodes, trays, chips = found.of_kind("term", "proposed"), found.of_kind("tray"), found.of_kind("chip")
    for box in (*found.rects, *found.texts):
        assert found.whole.holds(box), box
    for one, two in combinations((*nodes, *trays), 2):
        assert not one.overlaps(two), (one, two)
    for one, two in combinations((*nodes, *chips), 2):
        assert not one.overlaps(two), (one, two)
    for chip in chips:
        assert sum(tray.holds(chip) for tray in trays) == 1
    for levels in found.of_kind("levels"):
        assert not any(
            levels.overlaps(box) for box in (*nodes, *trays, *(o for o in found.of_kind("levels") if o != levels))
        )
    for one, two in combinations(zip(found.texts, found.words, strict=True), 2):
        assert not one[0].overlaps(two[0]), (one, two)
    for text, said in zip(found.texts, found.words, strict=True):
        around = [box for box in (*nodes, *trays, *found.of_kind("levels", "badge")) if box.overlaps(text)]
        assert all(box.holds(text) for box in around if box.kind not in ("levels", "badge")), (said, text, around)
    for line in found.edges:
        inner = [Box("inside", b.left + 1, b.top + 1, b.right - 1, b.bottom - 1) for b in (*nodes, *trays)]
        for x, y in line:
            assert not any(b.left < x < b.right and b.top < y < b.bottom for b in inner), (x, y)
    return found


# Room ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("votes", "options"), ITEMS)
def test_nothing_lies_on_another(cl: CellOntology, votes: dict[str, str], options: dict[str, Any]) -> None:
    found = check_room(drawn(cl, votes, **options))
    cast = [name for name, term in votes.items() if term]
    assert len(found.of_kind("chip")) == len(cast)
    wanted = options.get("term") or options.get("status") == "unseen"
    assert len(found.of_kind("proposed")) == bool(wanted)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_votes_have_room(data: st.DataObject) -> None:
    """Terms anywhere in the ontology, up to ten members, all of them apart or together."""
    n = data.draw(st.integers(1, 10))
    pool = data.draw(st.lists(st.integers(0, len(CL) - 1), min_size=1, max_size=6))
    votes = [data.draw(st.sampled_from([*pool, -1])) for _ in range(n)]
    cast = [v for v in votes if v >= 0]
    term = data.draw(st.sampled_from([CL.lca(cast), -1, *cast]))
    svg = ontology_drawing(
        CL, term=term, status=data.draw(st.sampled_from(["resolved", "backed_off", "unresolved", "unseen"])),
        top_term=data.draw(st.sampled_from([*cast, -1])), candidates=data.draw(st.permutations(sorted(set(cast))))[:3],
        votes=dict(zip(MEMBERS, votes, strict=False)),
        shares=dict.fromkeys(MEMBERS, data.draw(st.sampled_from([0.0, 1.0, NAN]))),
        n_votes=len(cast), support=data.draw(st.sampled_from([0.5, NAN])), threshold=data.draw(st.sampled_from([None, 0.9])),
        width=data.draw(st.sampled_from([320, 600])),
    )  # fmt: skip
    assert len(check_room(svg).of_kind("chip")) == len(cast)


# What is drawn ------------------------------------------------------------------------------------------------------


def test_votes_meeting_point_call_and_two_terms_above(cl: CellOntology) -> None:
    found = Read.of(
        drawn(cl, by(CYTOTOXIC8, NK), term=LYMPHOCYTE, candidates=[CYTOTOXIC8, NK], support=0.97, threshold=0.94)
    )
    assert len(found.of_kind("term", "proposed")) == 5
    said = " / ".join(found.words)
    assert "mononuclear leukocyte / CL:0000842" in said
    assert "lymphocyte / CL:0000542 · 2 of 2 votes / support 0.97 ≥ 0.94" in said
    assert f"{levels_between(cl.index(LYMPHOCYTE), cl.index(CYTOTOXIC8), cl)} more levels" in said
    assert "camp of natural killer cell: 1 of 2 votes" in said


def test_camps_differ_in_colour_shape_and_letter(cl: CellOntology) -> None:
    found = Read.of(drawn(cl, by(CYTOTOXIC8, NK, B), term=LYMPHOCYTE, candidates=[CYTOTOXIC8, NK]))
    letters = [word for word in found.words if word in ("A", "B")]
    assert sorted(letters) == ["A", "A", "B", "B"]  # chip and legend each
    discs = {c.attrib["fill"] for c in found.root.iter("circle") if c.attrib["fill"] != "none"}
    squares = {r.attrib["fill"] for r in found.root.iter("rect") if r.attrib["class"] == "badge"}
    rings = [c for c in found.root.iter("circle") if c.attrib["fill"] == "none"]
    assert len(discs) == len(squares) == 1
    assert discs != squares
    assert len(rings) == 2  # the vote of neither camp, and its line in the legend


def test_unseen_is_a_dashed_node_under_its_term(cl: CellOntology) -> None:
    found = Read.of(drawn(cl, by(B, B), term="CL:0000945", status="unseen", candidates=[B]))
    (new,) = (rect for rect in found.root.iter("rect") if rect.attrib["class"] == "proposed")
    assert new.attrib["stroke-dasharray"]
    assert "unseen under lymphocyte of B lineage" in " ".join(found.words)
    dashed = [path for path in found.root.iter("path") if path.attrib.get("stroke-dasharray")]
    assert len(dashed) == 1


def test_a_term_with_two_parents_has_both_edges_and_no_shortcut() -> None:
    ontology = ontology_from_edges(
        {name: name for name in ("cell", "left", "right", "both", "low")},
        {"left": ["cell"], "right": ["cell"], "both": ["left", "right"], "low": ["both", "cell"]},
    )
    i = {name: ontology.index(name) for name in ontology.ids}
    edges = edges_among(list(i.values()), ontology)
    names = {(ontology.ids[a], ontology.ids[b]) for a, b in edges}
    assert names == {("cell", "left"), ("cell", "right"), ("left", "both"), ("right", "both"), ("both", "low")}
    assert set(edges_among([i["cell"], i["low"], i["left"]], ontology)) == {
        (i["cell"], i["left"]),
        (i["left"], i["low"]),
    }
    assert levels_between(i["cell"], i["low"], ontology) == 2
    assert levels_between(i["both"], i["low"], ontology) == 0
    check_room(drawn(ontology, by("both", "left", "low"), term="both", candidates=["left", "low"]))


def test_an_edge_that_skips_a_layer_passes_between_nodes() -> None:
    nodes, edges = [0, 1, 2, 3, 4], [(0, 1), (0, 2), (1, 3), (3, 4), (2, 4)]
    found = layered(nodes, edges, width=600)
    assert found.layer == {0: 0, 1: 1, 2: 1, 3: 2, 4: 3}
    assert set(found.lanes[2, 4]) == {2}
    assert abs(found.lanes[2, 4][2] - found.x[3]) > found.node_width[2] / 2


def test_many_meeting_points_are_thinned(cl: CellOntology) -> None:
    rng = np.random.default_rng(0)
    votes = {f"m{i}": int(t) for i, t in enumerate(rng.integers(0, len(cl), 10))}
    standing = Standing(-1, "unresolved", -1, (), votes, {}, 10, NAN, None)
    terms = drawn_terms(cl, standing, [])
    assert set(votes.values()) <= set(terms)
    assert len(terms) <= MOST_NODES + 2


def test_same_input_same_bytes(cl: CellOntology) -> None:
    votes, options = ITEMS[1].values
    assert drawn(cl, votes, **options) == drawn(cl, dict(votes), **options)


# In words, and harmless ---------------------------------------------------------------------------------------------


def test_the_same_in_words(cl: CellOntology) -> None:
    svg = drawn(
        cl, by(CYTOTOXIC8, NK, NK, ""), term=LYMPHOCYTE, candidates=[NK, CYTOTOXIC8], top_term=NK, support=0.97,
        threshold=0.94, shares={"logistic": 0.81, "celltypist": NAN}, name="one",
    )  # fmt: skip
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    named = {element.attrib.get("id"): element.text for element in root}
    assert [named[root.attrib[f"aria-{by}"]] is not None for by in ("labelledby", "describedby")] == [True, True]
    said = named["one-desc"] or ""
    assert said.startswith("Proposed: lymphocyte (CL:0000542), backed off, support 0.97 ≥ 0.94.")
    assert "2 of 3 votes for natural killer cell (CL:0000623): celltypist, symphony." in said
    assert "(CL:0000794): logistic with 0.81." in said
    assert "No vote from singler." in said
    assert "All votes meet at lymphocyte (CL:0000542)." in said
    assert "Camp A is natural killer cell (CL:0000623)" in said
    assert re.search(r"The call stops \d\.\d bits above the likeliest term, natural killer cell\.", said)


def test_text_is_never_markup_and_no_attribute_is_style_or_script() -> None:
    bad = "<script>alert(\"1\")</script> & 'x'"
    ontology = ontology_from_edges({"cell": "cell", "T": bad, "B": "B" * 300}, {"T": ["cell"], "B": ["cell"]})
    svg = drawn(ontology, {bad: "T", "b": "B"}, term="T", candidates=["T", "B"])
    root = ElementTree.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {"svg", "title", "desc", "g", "rect", "circle", "path", "text"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name == "style" or name.startswith("on") or "href" in name]
    assert bad in "".join(root.itertext())
    check_room(svg)


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        pytest.param("B cell", 100, ["B cell"], id="fits"),
        pytest.param(
            "CD4-positive, alpha-beta T cell", 100, ["CD4-positive,", "alpha-beta T cell"], id="breaks_at_blanks"
        ),
        pytest.param("one two three four five six", 45, ["one", "two thr…"], id="cut_at_the_last_line"),
        pytest.param("", 50, [""], id="empty"),
    ],
)
def test_wrapped(text: str, room: float, expected: list[str]) -> None:
    found = wrapped(text, room, 12, lines=2)
    assert len(found) <= 2
    assert all(text_width(line, 12) <= room for line in found)
    assert found == expected or (text_width(text, 12) > room and len(expected) == 2)


@given(st.text(max_size=60), st.floats(10, 300))
def test_shortened_text_fits(text: str, room: float) -> None:
    short = shortened(text, room, 12)
    assert short == text or (text_width(short, 12) <= room and short.endswith("…"))
