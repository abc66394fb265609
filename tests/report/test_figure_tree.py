"""The tree of a run: which ancestors join its terms, what is counted where, and that its labels can be read."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from celljury.report.figure_tree import tree_drawing
from celljury.report.figure_tree_layout import run_tree

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.figure_tree_layout import RunTree

B, CD4, CD8, T, AB_T = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000791"
NEURON, MONOCYTE, LYMPHOCYTE, LEUKOCYTE = "CL:0000540", "CL:0000576", "CL:0000542", "CL:0000842"


def tree_of(cl: CellOntology, called: dict[str, int], unseen: dict[str, int] | None = None, **options: Any) -> RunTree:
    at, new = ({cl.index(i): n for i, n in counts.items()} for counts in (called, unseen or {}))
    return run_tree(cl, at, new, **options)


def lines(cl: CellOntology, tree: RunTree) -> list[tuple[str, str, int, int, int]]:
    """Label, label of the parent, cells at, at or below, unseen."""
    return [
        (
            cl.labels[node.term], cl.labels[tree.nodes[node.parent].term] if node.parent >= 0 else "", node.n_at,
            node.n_below, node.n_unseen,
        )
        for node in tree.nodes
    ]  # fmt: skip


def test_tree_by_hand(cl: CellOntology) -> None:
    """Branches meet in the lymphocyte and in the alpha-beta T cell; T cell and all between pass through."""
    tree = tree_of(cl, {CD4: 5, CD8: 3, B: 4})
    assert lines(cl, tree) == [
        ("lymphocyte", "", 0, 12, 0),
        ("mature alpha-beta T cell", "lymphocyte", 0, 8, 0),
        ("CD4-positive, alpha-beta T cell", "mature alpha-beta T cell", 5, 5, 0),
        ("CD8-positive, alpha-beta T cell", "mature alpha-beta T cell", 3, 3, 0),
        ("B cell", "lymphocyte", 4, 4, 0),
    ]


def test_called_ancestor_stands_though_nothing_branches_there(cl: CellOntology) -> None:
    tree = tree_of(cl, {CD4: 5, T: 2, LYMPHOCYTE: 1})
    assert [line[:4] for line in lines(cl, tree)] == [
        ("lymphocyte", "", 1, 8),
        ("T cell", "lymphocyte", 2, 7),
        ("CD4-positive, alpha-beta T cell", "T cell", 5, 5),
    ]


def test_unseen_cells_are_no_cells_of_their_node(cl: CellOntology) -> None:
    tree = tree_of(cl, {CD4: 5, MONOCYTE: 1}, {LYMPHOCYTE: 7})
    assert ("lymphocyte", "mononuclear leukocyte", 0, 5, 7) in lines(cl, tree)
    assert sum(node.n_at for node in tree.nodes) == 6
    assert sum(node.n_unseen for node in tree.nodes) == 7


def test_one_term_is_a_tree_of_one(cl: CellOntology) -> None:
    assert lines(cl, tree_of(cl, {B: 3})) == [("B cell", "", 3, 3, 0)]


def test_smallest_are_folded_and_still_counted_above(cl: CellOntology) -> None:
    tree = tree_of(cl, {CD4: 50, B: 40, MONOCYTE: 30, CD8: 2, NEURON: 1}, max_terms=3)
    assert (tree.n_folded, tree.n_folded_cells) == (2, 3)
    assert sum(node.n_at for node in tree.nodes) == 120
    assert {line[0]: line[3] for line in lines(cl, tree)}["mononuclear leukocyte"] == 122, "with the CD8 cells"


def test_every_edge_leads_to_an_ancestor_and_further_parents_are_not_above_the_first(cl: CellOntology) -> None:
    tree = many(cl, 60)
    assert any(node.others for node in tree.nodes), "CL has terms with several parents"
    for node in tree.nodes:
        above = [tree.nodes[row].term for row in (*([node.parent] if node.parent >= 0 else []), *node.others)]
        for one in above:
            assert cl.is_ancestor(one, node.term).item()
        for one, other in combinations(above, 2):
            assert not cl.is_ancestor(one, other).item()
            assert not cl.is_ancestor(other, one).item()


def test_parents_come_first_and_what_joins_joins(cl: CellOntology) -> None:
    tree = many(cl, 60)
    n_children = np.bincount([node.parent for node in tree.nodes if node.parent >= 0], minlength=len(tree.nodes))
    for row, node in enumerate(tree.nodes):
        assert node.parent < row
        assert node.drawn or n_children[row] >= 2, "an ancestor that neither has cells nor joins"


def many(cl: CellOntology, n: int) -> RunTree:
    chosen = some_terms(cl, n)
    return run_tree(cl, {t: int(10 + 1000 / (i + 1)) for i, t in enumerate(chosen)}, {})


def some_terms(cl: CellOntology, n: int) -> list[int]:
    below = cl.descendants(cl.index("CL:0000000"))
    rng = np.random.default_rng(1)
    return [int(t) for t in rng.choice(below[cl.n_descendants[below] < 40], n, replace=False)]


# Drawn ----------------------------------------------------------------------------------------------------------------


def texts_of(figure: Any) -> list[Any]:
    return [text for text in figure.axes[0].texts if text.get_text()]


def places(calls: pd.DataFrame, cl: CellOntology) -> dict[int, int]:
    """Cells by place, recounted from ``calls.parquet``."""
    counts: dict[int, int] = {}
    for term, status in zip(calls["term"].astype(object), calls["status"].astype(str), strict=True):
        known = isinstance(term, str)
        place = (-4 - cl.index(term) if known else -3) if status == "unseen" else (cl.index(term) if known else -2)
        counts[place] = counts.get(place, 0) + 1
    return counts


def test_numbers_are_those_of_the_calls(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[CD4] * 3] * 5 + [[B] * 3] * 4 + [[CD4, CD8, CD8]] * 3 + [["", "", ""]] * 2)
    calls = pd.read_parquet(run.calls_path)
    drawing = tree_drawing(cl, places(calls, cl))
    assert drawing is not None
    said = [text.get_text() for text in texts_of(drawing.figure)]
    for label, n in calls["label"].value_counts().items():
        assert said[said.index(label) + 1] == f"{n:,}"
    assert said[said.index("unresolved, without a term") + 1] == "2"
    assert f"{len(calls):,}" in said
    assert "CD4-positive, alpha-beta T cell 5 (36 %" in drawing.alt
    assert "unresolved 2" in drawing.alt


@pytest.mark.parametrize(
    "n",
    [pytest.param(5, id="few"), pytest.param(80, id="as_many_as_have_a_row"), pytest.param(130, id="some_are_folded")],
)
def test_labels_neither_overlap_nor_leave_the_page(cl: CellOntology, n: int) -> None:
    terms = some_terms(cl, n)
    counts = {t: 5 + 7 * i for i, t in enumerate(terms)} | {-4 - t: 3 for t in terms[::9]} | {-2: 11, -3: 13}
    drawing = tree_drawing(cl, counts)
    assert drawing is not None
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    page = drawing.figure.bbox
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts_of(drawing.figure)]
    for said, box in boxes:
        assert box.x0 >= page.x0, said
        assert box.x1 <= page.x1, said
        assert box.y0 >= page.y0, said
        assert box.y1 <= page.y1, said
    for (a, one), (b, other) in combinations(boxes, 2):
        wide = min(one.x1, other.x1) - max(one.x0, other.x0)
        high = min(one.y1, other.y1) - max(one.y0, other.y0)
        # Boxes reach from ascenders to descenders: letters of lines that touch do not.
        assert wide <= 0.5 or high <= 0.25 * min(one.height, other.height), f"{a!r} and {b!r}"


def test_unseen_cells_are_triangles(cl: CellOntology) -> None:
    drawing = tree_drawing(cl, {cl.index(B): 5, cl.index(CD4): 2, -4 - cl.index(T): 3, -3: 2})
    assert drawing is not None
    marks = [line for line in drawing.figure.axes[0].get_lines() if line.get_marker() == "^"]
    assert len(marks) == 2
    said = [text.get_text() for text in texts_of(drawing.figure)]
    assert said[said.index("unseen, new under T cell") + 1] == "3"
    assert said[said.index("unseen, new under no term") + 1] == "2"


def test_nothing_called_is_not_drawn(cl: CellOntology) -> None:
    assert tree_drawing(cl, {-2: 5}) is None
